"""Keys: what signs, what seals, and how one is derived from another."""
