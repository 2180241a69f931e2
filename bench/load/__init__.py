"""The load generator: a process of its own that plays clients of every peer. See __main__.py."""
