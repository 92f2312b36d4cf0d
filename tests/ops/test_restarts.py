"""A process that ends at once is started again after growing pauses; one that lived, at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from fedhome.ops import processes
from fedhome.ops.processes import Child


def _pauses(monkeypatch: pytest.MonkeyPatch, lives: list[float]) -> list[float]:
    """Return after how many seconds a process is started again that lives so many each time."""
    clock, ended, started = [100.0], [0.0], [0.0]

    def start(child: Child) -> None:
        started[0] = child._since = clock[0]

    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(Child, "start", start)
    child, pauses = Child("it", ["a.module"]), list[float]()
    child.process = SimpleNamespace(poll=lambda: 1, stdin=None)  # type: ignore[assignment]
    child.start()
    for life in lives:
        clock[0] = ended[0] = started[0] + life
        while child.look() is None and started[0] < ended[0]:
            clock[0] += 0.1
        pauses.append(started[0] - ended[0])
    return pauses


def test_pauses_double_up_to_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = _pauses(monkeypatch, [1.0] * 9)
    assert pauses == pytest.approx([0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0], abs=0.11)


def test_a_process_that_lived_is_started_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = _pauses(monkeypatch, [1.0, 1.0, 11.0, 1.0])
    assert pauses == pytest.approx([0.4, 0.8, 0.2, 0.4], abs=0.11)


@pytest.fixture
def signals() -> Iterator[None]:
    """Put this process's signals back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_closes_ends_a_process_as_ctrl_c_does(number: int) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    processes.end_on_sigterm()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    stopped: list[bool] = []
    processes.on_stop(lambda: stopped.append(True))
    os.kill(os.getpid(), number)
    assert stopped == [True]


@pytest.mark.usefixtures("signals")
def test_what_nohup_started_outlives_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    processes.end_on_sigterm()
    processes.on_stop(pytest.fail)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
