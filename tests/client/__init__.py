"""Tests of the Python client and of the terminal chat."""
