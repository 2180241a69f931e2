"""What is kept: the contract, its implementation on Redis, and the private Valkey."""
