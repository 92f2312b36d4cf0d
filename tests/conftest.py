"""What every test shares: one torch thread for tiny tensors, and a quiet Flower."""

from __future__ import annotations

import gc
import signal

import pytest
import torch

from fedhome.flower.messages import quiet


@pytest.fixture(autouse=True, scope="session")
def _modest() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as where a shell runs us behind
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what tests start inherits it
    torch.set_num_threads(1)
    quiet()
    gc.freeze()  # some strategies of Flower's collect garbage in every round: torch is large
