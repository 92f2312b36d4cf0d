"""The fleet's server: rounds, strategies, the resident processes, the report."""

if __name__ != "fedhome.server":
    raise ImportError("this folder is the package fedhome.server: import it by that name")
