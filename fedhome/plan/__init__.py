"""The plan: every setting of a run, and what its aggregation comes to."""
