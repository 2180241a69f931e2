"""What touches sockets: it authenticates, takes inputs to the store and brings events out of it."""
