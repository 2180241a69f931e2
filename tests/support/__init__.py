"""What tests share: real processes to test against, and a client that knows the protocol only."""
