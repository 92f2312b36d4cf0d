"""The world: synthetic homes, data sets, engines, scenarios, benchmarks."""

if __name__ != "fedhome.simulations":
    raise ImportError("this folder is the package fedhome.simulations: import it by that name")
