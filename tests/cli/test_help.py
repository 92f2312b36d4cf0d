"""Help and errors of the command line itself, whichever releases of typer and click are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.cli.group import Group

WIDE = {"COLUMNS": "240", "NO_COLOR": "1", "TERM": "dumb"}


def commands(group: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with the words that lead to it."""
    context = typer.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if hasattr(found, "commands"):
            yield from commands(found, *words, name)
        else:
            yield (*words, name), found


COMMANDS = dict(commands(typer.main.get_command(app)))


def output(*words: str, status: int) -> str:
    result = CliRunner().invoke(app, list(words), env=WIDE)
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())


def test_every_argument_of_every_command_says_what_it_is() -> None:
    arguments = {
        (*words, parameter.name): parameter.help
        for words, command in COMMANDS.items()
        for parameter in command.params
        if parameter.param_type_name == "argument"
    }
    assert len(arguments) > 20
    assert [where for where, said in arguments.items() if not said] == []
    assert arguments["server", "start", "folder"] == "The server's folder."


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("simulate",), "A plan (TOML), or the name of a scenario."),
        (("server", "start"), "The server's folder."),
        (("fleet", "invite"), "Names of new homes."),
    ],
)
def test_the_help_that_is_printed_tells_of_arguments(words: tuple[str, ...], said: str) -> None:
    assert said in output(*words, "--help", status=0)


@pytest.mark.parametrize("command", ["explain", "numbers"])
@pytest.mark.parametrize("homes", ["0", "-5", "1000000000000"])
def test_a_plan_is_shown_for_as_many_homes_as_a_fleet_can_have(command: str, homes: str) -> None:
    found = output("plan", command, "--homes", homes, status=2)
    assert f"{homes} is not in the range 1<=x<=1000000" in found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("simulat",), "No such command 'simulat': did you mean 'simulate'?"),
        (("server", "stauts"), "No such command 'stauts': did you mean 'status'?"),
        (("zzz",), "No such command 'zzz'."),
    ],
)
def test_an_unknown_command_is_met_with_one_suggestion(words: tuple[str, ...], said: str) -> None:
    found = output(*words, status=2)
    assert said in found
    assert found.lower().count("did you mean") == said.count("did you mean")


def test_help_that_is_there_already_stays() -> None:
    small = typer.Typer(cls=Group)

    @small.command()
    def one(thing: str = typer.Argument(help="What the signature says.")) -> None:
        """Take a thing."""

    @small.command()
    def two() -> None:
        """Take nothing."""

    group: Any = typer.main.get_command(small)
    group.commands["one"].params[0].help = "What is there."
    assert group.get_command(typer.Context(group), "one").params[0].help == "What is there."


def test_every_help_tells_what_to_do_and_not_what_the_code_raises() -> None:
    odd = [
        words
        for words, command in COMMANDS.items()
        if not command.help or any(f"{part}:" in command.help for part in ("Args", "Raises"))
    ]
    assert odd == []


def test_a_paragraph_of_help_is_broken_by_the_terminal_alone() -> None:
    assert {len(part.splitlines()) for c in COMMANDS.values() for part in c.help.split("\n\n")} == {
        1
    }


@pytest.mark.parametrize("width", [45, 60, 100])
@pytest.mark.parametrize("words", [(), ("simulate",), ("fleet", "rotate"), ("model", "slices")])
def test_no_help_is_cut_on_a_narrow_terminal(words: tuple[str, ...], width: int) -> None:
    env = {"COLUMNS": str(width), "LINES": "200", "NO_COLOR": "1", "TERM": "xterm"}
    found = CliRunner().invoke(app, [*words, "--help"], env=env).output
    assert "…" not in found
    assert max(map(len, found.splitlines())) <= width
    params = COMMANDS[words].params if words else typer.main.get_command(app).params
    options = [param.opts[0] for param in params if param.opts[0][:2] == "--"]
    assert options
    assert [one for one in options if one not in found] == []
    assert words or [one for one in ("simulate", "pipeline", "data") if one not in found] == []
    assert "\\[" not in found


def test_words_between_brackets_are_part_of_the_help() -> None:
    assert "a plan with [slicing]. Of a module" in output("model", "slices", "--help", status=0)
