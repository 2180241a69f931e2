"""The servers that are measured beside each other, and how each is started."""
