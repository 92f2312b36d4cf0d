"""Outages that are played over a fleet of real processes, and what must hold all the same.

:mod:`.road` carries each home's connections and breaks them, :mod:`.tested_fleet` is the fleet,
:mod:`.kinds` says what happens to it, :mod:`.day` draws and plays that, :mod:`.promises` looks at
what came of it. The command is :mod:`fedhome.simulations.benchmarks.weather`.
"""
