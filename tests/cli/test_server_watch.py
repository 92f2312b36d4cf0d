"""`fedhome server status --watch`: drawn anew on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from fedhome.cli.server_state import watched
from fedhome.server.daemon.server_status import ServerStatus
from helpers.server_states import CALM, RUN


def looks(states: Sequence[ServerStatus]) -> tuple[Callable[[], ServerStatus], Callable[..., None]]:
    """Return a look that gives one status after the other, and a pause that ends after the last."""
    given: Iterator[ServerStatus] = iter(states)
    left = len(states)

    def pause(_: float) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    return (lambda: next(given)), pause


def seen(console: Console, states: Sequence[ServerStatus], *, as_json: bool = False) -> None:
    look, pause = looks(states)
    with pytest.raises(KeyboardInterrupt):
        watched(look, console, pause=pause, as_json=as_json)


def test_a_pipe_gets_a_line_for_each_change_and_none_for_what_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    waits = replace(RUN, round=2, waits="waiting for [elm]")
    states = [CALM, CALM, replace(CALM, run=waits, faults=["the disk is full"]), CALM]
    seen(Console(file=io.StringIO()), states)
    lines = [line.split(" ", 2)[2] for line in capsys.readouterr().out.splitlines()]
    first = lines.index("run: tiny-1, running, round 1 of 9")
    assert "connected: 2 of 5: ash, elm" in lines[: first + 1]
    assert lines[first + 1 :] == [
        "run: tiny-1, running, round 2 of 9; waiting for [elm]",
        "warning 1: the disk is full",
        "run: tiny-1, running, round 1 of 9",
        "warning 1: over",
    ]


def test_a_program_gets_an_object_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    later = replace(CALM, run=replace(RUN, round=2))
    seen(Console(file=io.StringIO()), [CALM, CALM, later], as_json=True)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [ServerStatus.from_json(one) for one in told] == [CALM, later]


@pytest.mark.parametrize("width", [45, 80])
def test_a_terminal_is_drawn_anew_and_keeps_what_was_last(width: int) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, height=30, color_system=None)
    last = replace(CALM, connected=["ash"], faults=["the disk is full [of logs]"])
    seen(console, [CALM, last])
    drawn = file.getvalue()
    assert drawn.count("hub.example:8443") == 3, "each look, and what stays at the end"
    end = drawn.rpartition("hub.example:8443")[2]
    assert "1 of 5: ash" in end
    assert "the disk is full [of logs]" in " ".join(end.split())
    assert "Ctrl-C ends the watching" in " ".join(end.split())
