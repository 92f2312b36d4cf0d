"""Where a home reads its data from."""
