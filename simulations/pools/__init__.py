"""Fleets of any size: homes are made or read when they are asked."""
