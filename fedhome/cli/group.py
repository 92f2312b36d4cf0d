"""Groups of commands that say what typer, with some releases of click, loses or says twice.

Click 8.5 has a help text of its own for arguments, and sets it after typer 0.20 has set its: so
it is lost. And both of them append what may have been meant to an unknown command. Nothing here
asks for a release: what is there already is left as it is. Typer also breaks a paragraph where its
source is broken, takes words between brackets for styles, and shows sections that are for readers
of the code.
"""

from __future__ import annotations

import inspect
import re
from functools import partial
from typing import Any, get_type_hints

from rich import console
from rich.markup import escape
from typer import Abort
from typer.core import TyperGroup
from typer.models import ArgumentInfo

from fedhome.spelling import did_you_mean

_TABLE_WIDE = 80  # columns that a table of options takes
_FOR_CODE = re.compile(r"\n\n(Args|Raises|Returns|Yields):\n.*", re.DOTALL)


class Stopped(Exception):  # noqa: N818 - no error
    """Ctrl-C in a command, which typer would take for an end without a word.

    Args:
        hint: How what was interrupted goes on; empty where it does not.
    """

    def __init__(self, hint: str) -> None:
        super().__init__(hint)
        self.hint = hint


class Group(TyperGroup):
    """A group whose commands' arguments keep their help, and that says once what was meant."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed.

        Raises:
            Stopped: Somebody pressed Ctrl-C.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Stopped(getattr(stop, "hint", "")) from None
        except Abort as stop:  # also what ends at a question for want of an answer
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise Stopped("") from None
            raise

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, with the help of its arguments; None if there is none of the name."""
        command: Any = super().get_command(ctx, cmd_name)
        if command is not None:
            _keep_help(command)
            if not hasattr(command, "commands"):
                if narrow := _is_narrow():
                    command.format_help = partial(_print_plainly, command)
                if command.help and command.callback is not None:
                    told = help_of(inspect.getdoc(command.callback) or command.help)
                    command.help = told if narrow else escape(told)
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the group itself."""
        if _is_narrow():
            _print_plainly(self, ctx, formatter)
        else:
            super().format_help(ctx, formatter)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; an unknown one ends with the usual error, and one suggestion."""
        name = args[0] if args else ""
        # A group's own option in the wrong place gets the words of whoever reads options.
        if name[:1].isalnum() and not ctx.resilient_parsing:
            known = self.list_commands(ctx)
            if name not in known:
                ctx.fail(f"No such command {name!r}{did_you_mean(name, known) or '.'}")
        return super().resolve_command(ctx, args)


def help_of(text: str) -> str:
    r"""Return the help of a command: what its docstring says to whoever types it.

    >>> print(help_of("Do it.\n\nTwo\nlines.\n\nRaises:\n    RunError: It is done."))
    Do it.
    <BLANKLINE>
    Two lines.

    Args:
        text: The docstring.
    """
    paragraphs = _FOR_CODE.sub("", inspect.cleandoc(text)).split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in paragraphs)


def _is_narrow() -> bool:
    """Return whether a table would cut names of options, and words, on this terminal."""
    return console.Console().width < _TABLE_WIDE


def _print_plainly(command: Any, ctx: Any, formatter: Any) -> None:
    """Write a command's help without a table: options above what is said of them, where long."""
    formatter.width = console.Console().width
    command.format_usage(ctx, formatter)
    command.format_help_text(ctx, formatter)
    for kind, title in (("argument", "Arguments"), ("option", "Options")):
        params = [one for one in command.get_params(ctx) if one.param_type_name == kind]
        told = [record for one in params if (record := one.get_help_record(ctx))]
        if told:
            with formatter.section(title):
                formatter.write_dl([(name, said.replace("\\[", "[")) for name, said in told])
    if hasattr(command, "commands"):
        found = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.help.split("\n\n")[0]) for name, one in found])


def _keep_help(command: Any) -> None:
    """Give arguments that have lost their help what is said of them in the function's signature."""
    lost = [
        parameter
        for parameter in command.params
        if parameter.param_type_name == "argument" and not getattr(parameter, "help", None)
    ]
    if not lost:
        return
    hints = get_type_hints(command.callback, include_extras=True)
    for parameter in lost:
        for said in getattr(hints.get(parameter.name), "__metadata__", ()):
            if isinstance(said, ArgumentInfo):
                parameter.help = said.help
