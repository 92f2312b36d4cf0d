"""Orders of batches that are drawn on a device are the processor's."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome import rng
from fedhome.learning.batch_order import passes
from fedhome.simulations.engines.device_orders import orders_there
from helpers.as_a_gpu import AsAGpu


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(1, 70), min_size=1, max_size=6),
    stream=st.integers(0, 2**31),
    epochs=st.integers(1, 3),
)
def test_they_are_the_processors_number_for_number(
    counts: list[int], stream: int, epochs: int
) -> None:
    rows = np.array(sorted(counts, reverse=True))
    keys = rng.home_keys(stream, [f"home {number}" for number in range(len(rows))])
    begin = 100 * np.arange(len(rows))[::-1]
    found = orders_there(AsAGpu(), keys, begin, rows, stream=stream, epochs=epochs).numpy()
    own = np.arange(rows[0]) < rows[:, None]
    assert found.shape == (epochs, len(rows), rows[0])
    for (_, order), there in zip(
        passes(keys, rows, stream=stream, epochs=epochs, rows=0), found, strict=True
    ):
        np.testing.assert_array_equal(there[own], (begin[:, None] + order)[own])
        # Padding is a row of the home: whoever reads it reads within the fleet.
        assert (there[~own] == np.broadcast_to(begin[:, None], own.shape)[~own]).all()
