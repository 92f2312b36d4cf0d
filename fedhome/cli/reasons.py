"""``fedhome reasons``: what a short word stands for, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli.console import Console
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.json_plans import ReasonEntry
from fedhome.cli.row_blocks import print_rows
from fedhome.errors import PluginError
from fedhome.reasons import AT_HOME, CONNECTING, JOINING, QUESTIONS, RELEASES, STARTING, Reason
from fedhome.spelling import did_you_mean

LISTS: Mapping[str, Mapping[str, Reason]] = {
    "a question is refused": QUESTIONS,
    "a home cannot answer": AT_HOME,
    "a home does not connect": CONNECTING,
    "a home takes no release": RELEASES,
    "`client join` ends": JOINING,
    "`client start` ends with status 78 (but for `in-use`)": STARTING,
}
"""Where the words are met, and the lists."""


def reasons(
    word: Annotated[
        str | None, typer.Argument(help="One word.", metavar="WORD", show_default="all")
    ] = None,
    *,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="As the tables of docs/deploy.md.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say what a home's or a server's reason means, and who does what about it."""
    known = {one for words in LISTS.values() for one in words}
    if word is not None and word not in known:
        raise PluginError(
            f"there is no reason {word!r}{did_you_mean(word, known)}",
            hint="`fedhome reasons` lists them all",
        )
    rows = [
        (place, one, reason)
        for place, words in LISTS.items()
        for one, reason in words.items()
        if word in (None, one)
    ]
    if markdown:
        typer.echo(as_markdown(rows))
        return
    if as_json:
        print_json(
            [
                ReasonEntry(word=one, where=place, why=reason.why, remedy=reason.remedy)
                for place, one, reason in rows
            ]
        )
        return
    table = Table(show_edge=False)
    headings = ("word", "met where", "why", "what to do")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for place, one, reason in rows:
        table.add_row(*map(escape, (one, place.replace("`", ""), reason.why, reason.remedy)))
    print_rows(Console(), table, prose=headings[1:])


def as_markdown(rows: list[tuple[str, str, Reason]]) -> str:
    """Return the reasons about which somebody can do something, a table for each place."""
    blocks = []
    for place, group in groupby(rows, key=itemgetter(0)):
        title = place if place.startswith("`") else place[0].upper() + place[1:]
        lines = [f"**{title}:**", "", "| word | why | what to do |", "|---|---|---|"]
        lines += [
            f"| `{word}` | {reason.why} | {reason.remedy} |"
            for _, word, reason in group
            if reason.remedy
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
