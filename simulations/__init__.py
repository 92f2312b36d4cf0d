"""The world: synthetic homes, data sets, engines, scenarios, benchmarks."""
