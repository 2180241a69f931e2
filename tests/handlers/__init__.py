"""The agents that come with Parley."""
