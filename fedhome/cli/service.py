"""What is typed next after the files of a service were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Protocol

import typer

from fedhome.cli.console import Console, say
from fedhome.ops.service import Kind

KindOption = Annotated[Kind, typer.Option("--kind", help="What is to run it.")]
UserOption = Annotated[
    bool, typer.Option("--user", help="A unit of your own, not of the whole machine.")
]
OutOption = Annotated[
    Path,
    typer.Option("--out", help="Where to write the files.", metavar="DIR", show_default="here"),
]
_OWN_TO_A_UNIT = "/tmp", "/var/tmp"  # noqa: S108 - nothing is written there; PrivateTmp


def print_written(
    console: Console,
    kind: Kind,
    paths: Sequence[Path],
    *,
    uses: Sequence[Path],
    user: bool = False,
) -> None:
    """Say which files were written, and how they are put to use.

    Args:
        console: Where to say it.
        kind: What they are for.
        paths: The files.
        uses: What the service reads or writes.
        user: Whether a unit is one of the user's own.
    """
    lines = [f"wrote {path}" for path in paths]
    lines += [
        f"note: a unit has a {root} of its own, and does not see {path}: move that elsewhere first"
        for path in uses
        for root in _OWN_TO_A_UNIT
        if kind == "systemd" and path.resolve().is_relative_to(root)
    ]
    lines += ["", "next:", *(f"  {line}" for line in _NEXT[kind](paths, user=user))]
    for line in lines:
        say(console, line)


def _unit(paths: Sequence[Path], *, user: bool) -> list[str]:
    path = paths[0]
    if user:
        return [
            f"mkdir -p ~/.config/systemd/user && cp {path} ~/.config/systemd/user/",
            "systemctl --user daemon-reload",
            f"systemctl --user enable --now {path.name}",
            "loginctl enable-linger     # so that it runs while nobody is logged in",
        ]
    return [
        f"sudo cp {path} /etc/systemd/system/",
        "sudo systemctl daemon-reload",
        f"sudo systemctl enable --now {path.name}",
        f"journalctl -fu {path.stem}     # what it says",
    ]


def _compose(paths: Sequence[Path], *, user: bool) -> list[str]:
    del user
    return [f"docker compose -f {paths[-1]} up -d --build"]


def _container(paths: Sequence[Path], *, user: bool) -> list[str]:
    del user
    return [f"docker build -t fedhome -f {paths[0]} {paths[0].parent}"]


class _Next(Protocol):
    def __call__(self, paths: Sequence[Path], *, user: bool) -> list[str]:
        """Return what is typed next."""


_NEXT: Mapping[Kind, _Next] = {"systemd": _unit, "compose": _compose, "container": _container}
