"""What agent authors hold in their hands."""
