"""What homes know: tables of readings, the files they come from, and examples to learn from."""
