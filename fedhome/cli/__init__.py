"""The command line: one file a command group, errors as plain sentences.

A command loads its own group alone: what others need takes a second or two.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer
from rich.markup import escape

from fedhome.cli.console import Console
from fedhome.cli.group import Group, Stopped
from fedhome.denied import READ_ONLY
from fedhome.errors import FedHomeError

if TYPE_CHECKING:
    app: typer.Typer


class _Words(NamedTuple):
    """A command, or a group of commands.

    Args:
        module: Its file in this folder.
        group: What is said of the group; empty for a command, a function of the file's name.
    """

    module: str
    group: str = ""


_COMMANDS: Mapping[str, _Words] = {
    "simulate": _Words("simulate"),
    "up": _Words("up"),
    "report": _Words("report"),
    "new": _Words("new"),
    "reasons": _Words("reasons"),
    "plan": _Words("plan", "Look at a plan and its settings."),
    "privacy": _Words("privacy", "The noise that homes add: how much is realistic."),
    "fleet": _Words("fleet", "Who is in the fleet: the owner's commands."),
    "server": _Words("server", "The fleet's server: make it, run it, train."),
    "client": _Words("client", "A home on its device: join, start, pause, leave."),
    "model": _Words("model", "The fleet's models: every release, signed."),
    "pipeline": _Words("pipeline", "A network over several devices of a home."),
    "data": _Words("data", "Readings: how files are read, and named sets of real homes."),
}
"""All commands, in the order in which they are listed."""


def _print_version(wanted: bool) -> None:
    if wanted:
        from fedhome.installed_build import installed_build  # noqa: PLC0415 - it looks at files

        typer.echo(f"fedhome {installed_build()}")
        raise typer.Exit


def options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Many homes learn one model together, and each gets its own version of it back."""


def app_of(names: Sequence[str]) -> typer.Typer:
    """Return the command line with some of its commands.

    Args:
        names: Names of commands and groups.
    """
    made = typer.Typer(
        name="fedhome",
        cls=Group,
        no_args_is_help=True,
        pretty_exceptions_show_locals=False,
    )
    made.callback()(options)
    for name in names:
        words = _COMMANDS[name]
        module = import_module(f"fedhome.cli.{words.module}")
        if words.group:
            made.add_typer(module.app, name=name, help=words.group)
        else:
            made.command(name)(getattr(module, words.module))
    return made


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'fedhome.cli' has no attribute {name!r}")
    globals()["app"] = made = app_of(list(_COMMANDS))
    return made


def _wanted() -> list[str]:
    """Return the command that was typed; all of them where a shell or a reader wants a list."""
    typed = sys.argv[1:2]
    completing = "_FEDHOME_COMPLETE" in os.environ
    return typed if typed and typed[0] in _COMMANDS and not completing else list(_COMMANDS)


_ROOM = "make room: `df -h` shows on which disk"
_DISKS = {errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM, errno.EROFS: READ_ONLY}
"""Of errors of the system's, those that people can mend, and how."""


_GONE, _THERE = "the current folder is gone", "go to one that is there: `cd`"


def main() -> None:
    """Run the command line; an expected error ends it with a sentence and status 1.

    So do a file of another account, and a disk that is full or read-only: wherever a path comes
    from, that is no fault of ours.
    """
    console = Console(stderr=True, soft_wrap=True)
    try:
        app_of(_wanted())()
    except FedHomeError as error:
        helps = f"{_GONE}; {_THERE}" if _folder_is_gone() else error.hint  # nothing else does
        _end(console, error.message, helps)
    except PermissionError as error:
        from fedhome.denied import told_denied  # noqa: PLC0415 - rarely

        _end(console, *told_denied(error))
    except OSError as error:
        if _folder_is_gone():
            _end(console, _GONE, _THERE)
        hint = _DISKS.get(error.errno or 0)
        if hint is None:
            raise
        where = error.filename or "where the output goes"
        _end(console, f"{where}: {error.strerror}", hint)
    except (KeyboardInterrupt, Stopped) as stop:
        console.print("interrupted", highlight=False)
        if hint := getattr(stop, "hint", ""):
            _print_hint(console, hint)
        sys.exit(130)


def _folder_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _end(console: Console, message: str, hint: str) -> NoReturn:
    console.print(f"[bold red]error:[/] {escape(message)}", highlight=False)
    if hint:
        _print_hint(console, hint)
    sys.exit(1)


def _print_hint(console: Console, hint: str) -> None:
    console.print(f"[bold]hint:[/]  {escape(hint)}", highlight=False)
