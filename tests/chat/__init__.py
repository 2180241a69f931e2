"""What agent authors use, played on the stage of tests/runtime."""
