"""What every test shares: one torch thread for tiny tensors, and a quiet Flower."""

from __future__ import annotations

import gc
import signal

import pytest
import torch
from hypothesis import HealthCheck, settings

from fedhome.flower.messages import quiet

# How long an example takes says how busy the machine is: no test may fail for that.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(autouse=True, scope="session")
def _modest() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as where a shell runs us behind
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what tests start inherits it
    torch.set_num_threads(1)
    quiet()
    gc.freeze()  # some strategies of Flower's collect garbage in every round: torch is large
