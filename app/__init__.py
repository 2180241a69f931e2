"""Parley: write conversational agents as plain async Python handlers."""
