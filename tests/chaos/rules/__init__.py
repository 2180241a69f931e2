"""What must hold of every history: one small function a rule, which yields a few words for each place it does not."""
