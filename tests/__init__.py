"""The tests, in folders named after the layers of `app/`; what they share is in `support/`."""
