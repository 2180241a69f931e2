"""Agents as authors write them, for type checkers: nothing here is run."""
