"""One run: its folder, its log, its tables, its model, and how it is shown while it runs."""
