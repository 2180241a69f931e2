"""The runtime on a real store, without sockets."""
