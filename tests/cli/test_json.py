"""`--json`: every command that prints a state or a list has it, and prints what the docs say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from fedhome.cli import app
from fedhome.cli.json_out import print_json
from fedhome.fleet.owner_folder import Fleet
from fedhome.server.daemon.initialise import make_server
from helpers.command import fedhome
from helpers.json_guide import ELSEWHERE, GUIDE, SCHEMA, SHAPES, checked, guide, schema

PASSPHRASE = "a passphrase that is long enough"  # noqa: S105 - of a fleet in a temporary folder
DO = frozenset(
    (
        *("Ask", "Change", "End", "Erase", "Fetch", "Give", "Go", "Hand", "Keep", "Leave", "Let"),
        *("Make", "Publish", "Put", "Rebuild", "Remove", "Renew", "Run", "Sign", "Take", "Train"),
        "Write",
    )
)
"""How the help of a command begins that does something; any other one prints a state or a list."""


def commands(group: Any, *words: str) -> dict[str, Any]:
    context = typer.Context(group)
    found: dict[str, Any] = {}
    for name in group.list_commands(context):
        one = group.get_command(context, name)
        if hasattr(one, "commands"):
            found |= commands(one, *words, name)
        else:
            found[" ".join((*words, name))] = one
    return found


COMMANDS = commands(typer.main.get_command(app))


def test_every_command_that_prints_a_state_or_a_list_has_it_and_is_documented() -> None:
    prints = {name for name, one in COMMANDS.items() if (one.help or "").split()[0] not in DO}
    has = {
        name
        for name, one in COMMANDS.items()
        if any("--json" in parameter.opts for parameter in one.params)
    }
    assert prints - has == set(), "give it --json, or begin its help with what it does"
    assert has == {*SHAPES, *ELSEWHERE}, "describe it in tests/helpers/json_guide.py"
    assert len(has) >= 18


def test_the_guide_and_the_schema_are_those_of_the_code() -> None:
    assert guide() == GUIDE.read_text("utf-8"), "make face"
    assert schema() == SCHEMA.read_text("utf-8"), "make face"


def test_what_is_held_against_a_shape_can_fail() -> None:
    entry = {"word": "clock", "where": "there", "why": "late", "remedy": ""}
    assert checked("reasons", json.dumps([entry])) == [entry]
    for wrong in ({**entry, "more": 1}, {**entry, "word": 1}, {"word": "clock"}):
        with pytest.raises((AssertionError, ValueError)):
            checked("reasons", json.dumps([wrong]))


def test_what_is_no_json_is_not_printed() -> None:
    with pytest.raises(ValueError, match="JSON"):
        print_json({"loss": float("nan")})


@pytest.mark.long
@pytest.mark.parametrize(
    "words",
    [
        ("plan", "explain"),
        ("plan", "explain", "default", "--homes", "40"),
        ("plan", "numbers"),
        ("privacy", "plan", "--homes", "100", "--epsilon", "4", "--rounds", "10"),
        ("reasons",),
        ("reasons", "clock"),
        ("data", "list"),
        ("data", "describe", "appliances-uci"),
    ],
)
def test_what_is_printed_has_the_documented_shape(words: tuple[str, ...], tmp_path: Path) -> None:
    said = fedhome(*words, "--json", folder=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.isascii()
    assert checked(" ".join(words[: 1 if words[0] == "reasons" else 2]), said.stdout)


@pytest.mark.long
def test_a_plan_is_printed_as_its_tables(tmp_path: Path) -> None:
    told = json.loads(fedhome("plan", "show", "--json", folder=tmp_path).stdout)
    assert told["rounds"]["count"] > 0
    explained = json.loads(fedhome("plan", "explain", "--json", folder=tmp_path).stdout)
    for one in explained["settings"]:
        value = told
        for name in one["name"].split("."):
            value = value[name]
        assert value == one["value"] == one["default"], one["name"]


@pytest.mark.long
def test_a_fleet_and_a_server_that_is_down_are_printed(tmp_path: Path) -> None:
    owner = tmp_path / "owner"
    with Fleet.create(owner, PASSPHRASE) as fleet:
        fleet.add_trial("ash", "elm", "oak", "fir", "yew")
        fleet.sign(PASSPHRASE, corrupt=0.25, dropped=0.2, committee=None)
        fleet.revoke("oak")
    told = checked("fleet show", fedhome("fleet", "show", "--json", folder=owner).stdout)
    assert [one["home"] for one in told["homes"]] == ["ash", "elm", "fir", "oak", "yew"]
    assert {one["home"] for one in told["homes"] if one["change"]} == {"oak"}
    assert (told["epoch"], told["threshold"], len(told["keys"])) == (1, 1, 1)
    # A quarter of five, rounded down, may be corrupt: two openings take more than six answers.
    assert (told["committee"], told["corrupt"], told["answers"]) == (5, 1, 4)
    make_server(tmp_path / "hub", hosts=["hub"], port=1, listen="127.0.0.1", fleet=owner)
    said = fedhome("server", "status", "hub", "--json", folder=tmp_path)
    assert checked("server status", said.stdout)["directory_days"] == 399
