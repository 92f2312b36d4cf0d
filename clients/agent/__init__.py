"""The agent: a home's resident process, and its worker that learns."""
