"""The built-in page: static files, and how they are read. No framework: the gateway serves them."""
