"""What every test shares: one torch thread for tiny tensors, a quiet Flower, few examples."""

from __future__ import annotations

import gc
import signal

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("helpers")

FLEETS = ("test_up_data.py", "test_flower_run.py", "test_ray.py", "test_worker.py", "test_enrol.py")
"""Tests beside those of tests/processes that start many processes."""

# No example has a deadline: what takes long on a busy machine is no fault. `make slow` runs the
# properties on more: helpers/examples.py.
_STEADY = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", parent=_STEADY, max_examples=25)
settings.register_profile("many", parent=_STEADY, max_examples=100)
settings.load_profile("few")


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out a simulation's report, which takes longer than a tiny run itself."""
    monkeypatch.setattr("fedhome.simulations.simulate.write_report", lambda *_: None)


@pytest.fixture(autouse=True, scope="session")
def _modest() -> None:
    # Not at the top: the process that hands tests out to workers runs none.
    import torch  # noqa: PLC0415

    from fedhome.flower.messages import quiet  # noqa: PLC0415

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as where a shell runs us behind
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what tests start inherits it
    torch.set_num_threads(1)
    quiet()
    gc.freeze()  # some strategies of Flower's collect garbage in every round: torch is large


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that start fleets of processes together: they want a core for themselves.

    `make slow` gives them to one worker, one after the other, while another one does the rest.
    """
    for item in items:
        if item.path.name in FLEETS or item.path.parent.name == "processes":
            item.add_marker(pytest.mark.xdist_group("fleets"))
