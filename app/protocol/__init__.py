"""The wire protocol as pure code: frames, inputs, events, and what a log adds up to. No I/O, no framework."""
