"""Tests of the executor layer: threads, coroutines in synchronous code, streams, processes."""
