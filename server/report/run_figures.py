"""All figures of one run, in the order of the page."""

from __future__ import annotations

from fedhome.server.report.figures import (
    Figure,
    distribution,
    hurt_and_helped,
    learning_curves,
    traffic,
)
from fedhome.server.report.gain_figures import cold_start, gains
from fedhome.server.report.home_figures import portraits, reliability
from fedhome.server.report.run_results import RunResults


def figures(run: RunResults) -> list[Figure]:
    """Return the figures for which the run has data."""
    candidates = [
        learning_curves(run),
        distribution(run),
        hurt_and_helped(run),
        gains(run),
        cold_start(run),
        portraits(run),
        reliability(run),
        traffic(run),
    ]
    return [figure for figure in candidates if figure is not None]
