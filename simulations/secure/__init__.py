"""The homes' machines of a secure simulation: keys, masks, and processes to share the work."""
