"""The page for operators: one HTML file without a script, made anew for whoever looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import jinja2

from fedhome.run.results import rounds_table
from fedhome.server.daemon.server_status import RefusingHome, RunStatus, ServerStatus
from fedhome.server.page.page_content import FEWEST, PageContent
from fedhome.server.report.figure_drawing import drawings
from fedhome.server.report.figures import Figure, learning_curves
from fedhome.server.report.html import page_style
from fedhome.server.report.notices import notices
from fedhome.server.report.run_results import RunResults

EVERY_S = 10
"""How often a browser asks for the page anew."""
_SHOWN = 30  # rows of a list
_DIGITS = 12  # of a hash
_FEW_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class PageNumber:
    """A number that is seen at once.

    Args:
        value: The number.
        what: What it counts.
        bad: Whether somebody should look.
    """

    value: str
    what: str
    bad: bool = False


def page_html(content: PageContent) -> str:
    """Return the page.

    Args:
        content: What there is to see.
    """
    status = content.status
    told = notices(content.events)
    refusing = [] if status is None else [*status.refusing, *_refusing_run(status.run)]
    return _template().render(
        style=page_style(),
        every_s=EVERY_S,
        time=f"{content.time:%Y-%m-%d %H:%M:%S} UTC",
        title="a server that does not answer" if status is None else status.address,
        status=status,
        tiles=[] if status is None else _tiles(status),
        faults=content.all_faults,
        run=None if status is None else status.run,
        ended=_ended(content),
        figure=_figure(content),
        drawings=drawings,
        hidden=content.hidden,
        fewest=FEWEST,
        refusing=_by_word(refusing),
        notices=told[-_SHOWN:],
        more_notices=max(0, len(told) - _SHOWN),
        releases=_releases(content),
        more_releases=max(0, len(content.releases) - _SHOWN),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("status.html.j2")


def _tiles(status: ServerStatus) -> list[PageNumber]:
    there = "?" if status.connected is None else str(len(status.connected))
    up = status.front and status.link
    tiles = [
        PageNumber(
            value="up" if up else "starting" if status.starting else "down",
            what="front and SuperLink",
            bad=not (up or status.starting),
        ),
        PageNumber(
            value=f"{there}/{status.homes}",
            what="homes connected",
            bad=status.connected is None or len(status.connected) < status.homes,
        ),
    ]
    if status.run is not None:
        of = f"/{status.run.rounds}" if status.run.rounds else ""
        tiles.append(
            PageNumber(
                value=f"{status.run.round}{of}",
                what=f"rounds, {status.run.state}",
                bad=status.run.state == "failed",
            )
        )
    release = "none" if status.release is None else str(status.release.number)
    tiles += [
        PageNumber(value=release, what="release in use"),
        _days(status.certificate_days, "certificate"),
    ]
    if status.epoch:
        tiles.append(_days(status.directory_days, "directory"))
    if status.pending:
        tiles.append(
            PageNumber(value=str(status.pending), what="enrolments wait for the owner", bad=True)
        )
    return tiles


def _days(days: int, what: str) -> PageNumber:
    return PageNumber(value=str(days), what=f"days left of the {what}", bad=days < _FEW_DAYS)


def _refusing_run(run: RunStatus | None) -> Sequence[RefusingHome]:
    return () if run is None else run.refusing


def _by_word(refusing: Sequence[RefusingHome]) -> list[tuple[RefusingHome, list[str]]]:
    """Return one of the homes that refuse the same for the same reason, and all their names."""
    alike: dict[tuple[str, str], list[RefusingHome]] = {}
    for one in refusing:
        alike.setdefault((one.question, one.reason), []).append(one)
    return [(homes[0], [one.home for one in homes]) for homes in alike.values()]


def _ended(content: PageContent) -> str:
    """Return what became of what the run ended with; empty where that is not decided."""
    words = {
        "model-released": "released",
        "release-kept": "not released",
        "release-failed": "failed",
    }
    last = [event for event in content.events if event.event in words]
    if not last:
        return ""
    reason = last[-1].data.get("reason")
    return f"{words[last[-1].event]}: {reason}" if reason else words[last[-1].event]


def _figure(content: PageContent) -> Figure | None:
    if not content.rounds:
        return None
    return learning_curves(
        RunResults(
            label="",
            plan={},
            plan_text="",
            events=content.events,
            rounds=rounds_table(content.rounds),
            homes=None,
        )
    )


def _releases(content: PageContent) -> list[dict[str, str]]:
    """Return the newest releases as rows of a table, the newest first."""
    return [
        {
            "number": str(one.number),
            "published": f"{datetime.fromtimestamp(one.manifest.time, UTC):%Y-%m-%d %H:%M}",
            "run": one.manifest.run,
            "round": str(one.manifest.round),
            "homes": str(one.manifest.homes),
            "hash": one.hash.hex()[:_DIGITS],
        }
        for one in reversed(content.releases[-_SHOWN:])
    ]
