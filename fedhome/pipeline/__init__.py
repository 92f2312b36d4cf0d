"""A network over several devices of one home: planned, and run here or over TLS."""
