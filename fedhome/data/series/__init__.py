"""From readings to a regular series, and to examples."""
