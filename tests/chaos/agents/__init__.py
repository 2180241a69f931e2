"""The handlers that the chaos suite serves."""
