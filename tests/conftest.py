"""What every test shares: one torch thread for tiny tensors, and a quiet Flower."""

from __future__ import annotations

import gc

import pytest
import torch

from fedhome.flower import quiet


@pytest.fixture(autouse=True, scope="session")
def _modest() -> None:
    torch.set_num_threads(1)
    quiet()
    gc.freeze()  # some strategies of Flower's collect garbage in every round: torch is large
