"""The report's page: one file with all that it needs inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from fedhome.errors import RunError
from fedhome.plan.time_steps import ahead_of
from fedhome.run.folder import RunFolder
from fedhome.run.written_whole import write_atomically
from fedhome.server.report import facts
from fedhome.server.report.comparison import comparison_figures
from fedhome.server.report.figure_drawing import drawings
from fedhome.server.report.homes_list import homes_list, sorting_script
from fedhome.server.report.horizons_table import horizons_table
from fedhome.server.report.notices import notices
from fedhome.server.report.reading_groups import reading_groups
from fedhome.server.report.run_figures import figures
from fedhome.server.report.run_results import RunResults, load
from fedhome.server.report.theme import colours_named
from fedhome.server.report.tiers_table import TIER_COLUMNS, tier_rows


def write_report(runs: Sequence[RunFolder], out: Path) -> Path:
    """Write the report of one run, or the comparison of several, as one HTML file.

    The file fetches nothing, from nowhere. It shows the names of homes and their scores; of a
    simulation's best, median and worst home also readings, unless its plan says otherwise.

    Args:
        runs: The run, or the runs in the order of comparison.
        out: The file to write.

    Raises:
        RunError: No run was named, a folder holds none, a file in it is damaged or was
            altered, or ``out`` cannot be written.
    """
    if not runs:
        raise RunError("no run to report on", hint="name the folder of a run")
    out = Path(out)
    write_atomically(out, _page(load(runs)).encode("utf-8", "replace"))
    return out


def _page(runs: Sequence[RunResults]) -> str:
    one = runs[0] if len(runs) == 1 else None
    listed = homes_list(one) if one else None
    script, policy = sorting_script() if listed else ("", "")
    figures_shown = figures(one) if one else comparison_figures(runs)
    return render(
        "page.html.j2",
        title=one.label if one else f"Comparison of {len(runs)} runs",
        runs=runs,
        headlines=facts.headlines(one) if one else [],
        columns=facts.SUMMARY_COLUMNS,
        score_name=" or ".join(dict.fromkeys(run.score_name for run in runs)),
        summaries=[(run, rows) for run in runs if (rows := run.summary())],
        compared=any(row.compared for run in runs for row in run.summary()),
        remarks=[(run, sentences) for run in runs if (sentences := facts.remarks(run))],
        notices=[(run, told) for run in runs if (told := notices(run.events))],
        horizons=[(run, found) for run in runs if (found := horizons_table(run))],
        tier_columns=TIER_COLUMNS,
        tiers=[(run, tiers) for run in runs if (tiers := tier_rows(run))],
        differing=facts.differing_settings(runs),
        figures=figures_shown,
        homes=listed,
        script=script,
        policy=policy,
        real=one is not None and one.real,
        readings=[(run, groups) for run in runs if (groups := reading_groups(run.readings))],
    )


def render(template: str, **content: Any) -> str:
    """Return a page of a template, with all that it needs inside.

    No script runs in it but one whose hash the page names as ``policy``.

    Args:
        template: Its name in this folder; it extends ``frame.html.j2``.
        content: What it shows.
    """
    parts = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(parts),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "ahead_of": ahead_of,
        "facts_of": facts.facts,
        "in_short": facts.in_short,
        "side_by_side": facts.side_by_side,
        "cells": facts.summary_cells,
        "command": facts.command,
        "drawings": drawings,
    }
    content = {"script": "", "policy": "", **content}
    return environment.get_template(template).render(style=page_style(), **content)


def page_style() -> str:
    """Return the style of our pages, with the colours of their figures."""
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    return style + colours_named()
