"""Rows' times, and rows of one time."""
