"""A home's readings as they arrive: kept by day under its own key, read back, looked at."""
