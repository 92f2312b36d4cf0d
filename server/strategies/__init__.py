"""Strategies by name, and what they need to see."""
