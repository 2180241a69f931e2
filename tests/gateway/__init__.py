"""The gateway between real sockets and a real store, without any runtime."""
