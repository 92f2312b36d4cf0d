"""Benchmarks: against other frameworks (speed), our own overhead, and large fleets (scale).

Each is a program: ``python -m fedhome.simulations.benchmarks.speed --help``.
"""
