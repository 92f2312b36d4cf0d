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
from typing import Any, get_type_hints

from rich.markup import escape
from typer.core import TyperGroup
from typer.models import ArgumentInfo

from fedhome.spelling import did_you_mean

_FOR_CODE = re.compile(r"\n\n(Args|Raises|Returns|Yields):\n.*", re.DOTALL)


class Group(TyperGroup):
    """A group whose commands' arguments keep their help, and that says once what was meant."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, with the help of its arguments; None if there is none of the name."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _keep_help(command)
            if command.help and command.callback is not None and not hasattr(command, "commands"):
                command.help = help_of(inspect.getdoc(command.callback) or command.help)
        return command

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
    return escape("\n\n".join(" ".join(part.split()) for part in paragraphs))


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
