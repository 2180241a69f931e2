"""Benchmarks: programs that print tables. Nothing here is part of the server."""
