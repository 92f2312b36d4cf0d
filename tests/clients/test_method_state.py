"""What a home's method has learnt for it alone: sealed in its folder, and told to nobody."""

from __future__ import annotations

import logging
import threading
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from fedhome import secagg
from fedhome.clients.agent import work, worker
from fedhome.clients.agent.work import WorkerProcess
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.method_state import SealedState
from fedhome.errors import StateError
from fedhome.fleet.state_file import KEY
from fedhome.learning.own_state import MOST_BYTES, OwnState
from fedhome.store import disk
from helpers.kept_home import HOME, kept_home

VALUES = np.array([1.5, -2.25, 3.125], np.float32)


def state_of(values: np.ndarray = VALUES) -> OwnState:
    return OwnState(of=bytes(32), asked=bytes(range(32)), arrays={"own model": values})


@pytest.fixture
def place(tmp_path: Path) -> HomeFolder:
    return kept_home(tmp_path)


def test_what_is_kept_is_sealed_and_comes_back(place: HomeFolder) -> None:
    states = SealedState(place.path, HOME)
    assert states.read(HOME) is None
    states.write(HOME, state_of())
    states.write(HOME, state_of(VALUES * 2))
    found = SealedState(place.path, HOME).read(HOME)
    assert found is not None
    np.testing.assert_array_equal(found.arrays["own model"], VALUES * 2)
    assert found.asked == bytes(range(32))
    data = states.path.read_bytes()
    assert (VALUES * 2).tobytes() not in data
    assert b"own model" not in data
    assert states.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "altered"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"x" + data, "foreign"),
    ],
)
def test_a_damaged_file_is_refused_and_left(place: HomeFolder, harm: Any, why: str) -> None:
    states = SealedState(place.path, HOME)
    states.write(HOME, state_of())
    data = harm(states.path.read_bytes())
    states.path.write_bytes(data)
    for act in (lambda: states.read(HOME), lambda: states.write(HOME, state_of())):
        with pytest.raises(StateError) as caught:
            act()
        assert caught.value.reason == why
        assert "remove method.fh: the home begins anew" in caught.value.hint
    assert states.path.read_bytes() == data


def test_another_home_s_file_or_key_is_refused(place: HomeFolder) -> None:
    SealedState(place.path, HOME).write(HOME, state_of())
    with pytest.raises(StateError, match="is of home 'kitchen', not of 'cellar'"):
        SealedState(place.path, "cellar").read("cellar")
    with pytest.raises(StateError, match="'cellar'"):
        SealedState(place.path, HOME).read("cellar")
    (place.path / KEY).unlink()
    with pytest.raises(StateError):
        SealedState(place.path, HOME).read(HOME)


def test_what_is_too_large_is_refused_before_anything_is_written(place: HomeFolder) -> None:
    states = SealedState(place.path, HOME)
    states.write(HOME, state_of())
    with pytest.raises(StateError, match="at most 16,777,216 are") as caught:
        states.write(HOME, state_of(np.zeros(MOST_BYTES // 4 + 1, np.float32)))
    assert caught.value.reason == "size"
    found = states.read(HOME)
    assert found is not None
    np.testing.assert_array_equal(found.arrays["own model"], VALUES)


class AgentsEnd:
    """An agent's side of the pipe, in a thread: what `WorkerProcess` does with a state's frame."""

    def __init__(self, place: HomeFolder, machine: Any, pipe: Any) -> None:
        self._process, self._pipe = WorkerProcess(place, machine), pipe

    def send_frame(self, **what: object) -> None:
        """Send a frame to the worker."""
        worker.send(self._pipe, **what)

    def serve(self) -> None:
        """Answer until the worker is gone."""
        with self._pipe:
            while True:
                try:
                    frame = msgpack.unpackb(self._pipe.recv_bytes())
                except EOFError:
                    return
                self._process._answer_state(self, frame["state"])  # type: ignore[arg-type]


def test_a_worker_has_no_key_and_the_agent_keeps_what_it_learns(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = Pipe()
    machine: secagg.HomeParty | None = None
    agent = threading.Thread(target=AgentsEnd(place, machine, ours).serve)
    agent.start()
    with theirs, caplog.at_level(logging.ERROR, work.__name__):
        states = worker._AgentStates(theirs)
        assert states.read(HOME) is None
        states.write(HOME, state_of())
        found = states.read(HOME)
        assert found is not None
        np.testing.assert_array_equal(found.arrays["own model"], VALUES)
        sealed = SealedState(place.path, HOME).read(HOME)
        assert sealed is not None

        def full(*_: object) -> None:
            raise StateError("no room on the disk", reason="storage")

        monkeypatch.setattr(disk, "put", full)
        with pytest.raises(StateError, match="its log says why"):
            states.write(HOME, state_of(VALUES * 3))
        assert "the home does not learn: no room on the disk" in caplog.text
        assert "3.125" not in caplog.text
    agent.join()
