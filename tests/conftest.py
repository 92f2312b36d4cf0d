"""What every test shares: one torch thread for tiny tensors, a quiet Flower, few examples."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from fedhome.keys.sealing import Scrypt

pytest.register_assert_rewrite("helpers")

# No example has a deadline: what takes long on a busy machine is no fault. `make slow` runs the
# properties on more: helpers/examples.py.
_STEADY = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", parent=_STEADY, max_examples=25)
settings.register_profile("many", parent=_STEADY, max_examples=100)
settings.load_profile("few")
_POPEN = subprocess.Popen


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two cores of Ray in this process; a run finds them there, and leaves them."""
    ray = pytest.importorskip("ray")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def forker() -> Iterator[Any]:
    """Who forks processes of ours, from one that has loaded everything: helpers/forked.py."""
    from helpers.forked import Forker  # noqa: PLC0415 - only where processes are started

    with Forker() as there:
        yield there


@pytest.fixture(scope="module")
def forked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fork processes of ours instead of starting them: for tests of what they do once they run."""
    if sys.platform != "linux":
        yield
        return
    popen = request.getfixturevalue("forker").popen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", popen)
        yield


@pytest.fixture
def unforked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start processes for real in a test of a file that uses ``forked``."""
    monkeypatch.setattr(subprocess, "Popen", _POPEN)


def pytest_sessionstart() -> None:
    """Let no garbage be looked for while tests are collected: thousands of modules stay anyhow."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is loaded by now is not looked through again, by Flower's strategies in every round."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out a simulation's report, which takes longer than a tiny run itself."""
    monkeypatch.setattr("fedhome.simulations.simulate.write_report", lambda *_: None)


@pytest.fixture(autouse=True, scope="session")
def costly_scrypt() -> Iterator[Callable[[], Scrypt]]:
    """Let new passphrases cost a hundredth; the value is what makes them cost what they should."""
    from fedhome.keys.sealing import Scrypt  # noqa: PLC0415

    costly = Scrypt.fresh
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scrypt, "fresh", lambda: replace(costly(), log2_n=10, p=1))
        yield costly


@pytest.fixture(autouse=True, scope="session")
def _modest() -> None:
    # Not at the top: the process that hands tests out to workers runs none.
    import torch  # noqa: PLC0415

    from fedhome.flower.messages import quiet  # noqa: PLC0415

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as where a shell runs us behind
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what tests start inherits it
    torch.set_num_threads(1)
    quiet()


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """Hand out the tests of `make slow` as :mod:`helpers.hand_out` says."""
    if config.getoption("dist") != "loadfile":
        return None
    from helpers.hand_out import FleetsApart  # noqa: PLC0415 - its asserts are rewritten, too

    return FleetsApart(config, log)
