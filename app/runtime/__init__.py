"""What runs: agents and their handlers, turns, the owners of sessions."""
