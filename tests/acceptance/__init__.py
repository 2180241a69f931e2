"""A real server in processes of its own, and clients that know the protocol only."""
