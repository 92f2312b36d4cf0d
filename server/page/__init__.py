"""What whoever runs a server sees of it: a page, and numbers for Prometheus."""
