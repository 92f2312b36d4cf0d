"""What every test shares: one torch thread, since the machine is shared and the tensors are tiny."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    torch.set_num_threads(1)
