"""What commands print for programs: `--json`, and how it is written.

The shapes are dataclasses; docs/json.md is made from them, and holds for what is printed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

import typer

JsonFlag = Annotated[
    bool, typer.Option("--json", help="For programs: as docs/json.md describes it.")
]


def print_json(told: Any) -> None:
    """Print an object, or a list of objects, as JSON in ASCII.

    Args:
        told: A dataclass, a list of these, or plain values.
    """
    typer.echo(json.dumps(plain(told), indent=2, allow_nan=False))


def plain(told: Any) -> Any:
    """Return dataclasses as mappings, also those in a list."""
    if isinstance(told, list | tuple):
        return [plain(one) for one in told]
    return asdict(told) if is_dataclass(told) and not isinstance(told, type) else told
