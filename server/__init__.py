"""The fleet's server: rounds, strategies, report."""
