"""What ``fedhome client join`` shows before anybody agrees: the readings, and the plan in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from fedhome.counted import counted
from fedhome.wire.moments import when

if TYPE_CHECKING:
    from fedhome.clients.membership.join import JoinRequest

_NAMED = 12  # columns that are named


def findings_table(request: JoinRequest) -> Table:
    """Return what was found in the readings, and what the plan makes of it."""
    invite, findings = request.invite, request.findings
    table = Table(show_edge=False, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = f"{counted(findings.rows, 'row')}"
    if findings.begin is not None and findings.end is not None and findings.days is not None:
        first, last = when(findings.begin)[:10], when(findings.end)[:10]
        rows += f" over {findings.days:.1f} days, {first} to {last}"
    shown = ", ".join(findings.columns[:_NAMED])
    more = f" and {len(findings.columns) - _NAMED} more" if len(findings.columns) > _NAMED else ""
    training, validation, test = findings.examples
    for name, value in (
        ("invite", f"{invite.home}, of fleet {invite.anchor.fleet.hex()} at {invite.card.server}"),
        ("", f"it holds until {when(invite.expires)}"),
        ("data", "what the home records" if request.source is None else str(request.source)),
        ("", rows if findings.rows else "no readings yet"),
        *([("columns", f"{len(findings.columns)}: {shown}{more}")] if findings.columns else []),
        ("plan", f"{request.plan.name}: predict {request.plan.data.target}"),
        (
            "examples",
            f"{training:,} for training, {validation:,} for validation, {test:,} for the test",
        ),
        (
            "model",
            f"{counted(findings.of_model, 'parameter')}, {counted(findings.inputs, 'input')}",
        ),
        *(
            [("this device", f"{request.tier}: it carries {findings.parameters:,} of them")]
            if request.tier
            else []
        ),
    ):
        table.add_row(name, escape(value))
    return table


def inputs_table(request: JoinRequest) -> Table:
    """Return which column of the file is which input of the plan, and what it is taken for."""
    findings, target = request.findings, request.plan.data.target
    table = Table(show_edge=False, header_style="bold")
    for name in ("column of the file", "in the plan", "kind", "unit", "without a reading"):
        table.add_column(name, overflow="fold")
    for match in findings.matches:
        spec = match.spec
        converted = f"{match.unit}, converted to {spec.unit}"
        unit = converted if match.unit and spec.unit not in ("", match.unit) else spec.unit
        kind = f"{len(spec.words)} words" if spec.words else spec.kind
        cells = (
            findings.sources.get(spec.name, spec.name),
            f"{spec.name}, predicted" if spec.name == target else spec.name,
            kind,
            unit or match.unit,
            f"{match.missing:,} of {counted(findings.rows, 'row')}",
        )
        table.add_row(*map(escape, cells))
    return table
