"""The server's resident processes: the daemon, the front, the SuperLink, and a run's own."""
