"""Home-level differential privacy: the noise, what it costs, and the home's record of that."""
