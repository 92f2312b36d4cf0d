"""Local learning: examples, tasks, the three pure functions, personalisation."""
