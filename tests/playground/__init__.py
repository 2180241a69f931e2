"""The page in a real browser, against a real server: what a person does and sees, what must never run."""
