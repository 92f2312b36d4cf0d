"""What a run's table says of each of several horizons."""

from __future__ import annotations

import math

import pyarrow as pa

from fedhome.run.horizon_scores import horizon_scores


def test_a_horizon_without_bands_takes_none_from_the_others() -> None:
    homes = pa.table(
        {
            "model": ["personalised", "global"],
            "skill@1h": [0.5, 0.25],
            "skill@6h": [0.25, math.nan],
            "coverage@1h": [0.75, math.nan],
            "coverage@6h": [math.nan, math.nan],
        }
    )
    found = horizon_scores(homes, "skill")
    assert found is not None
    assert found.models["personalised"] == (0.5, 0.25)
    assert found.coverage[0] == 0.75
    assert math.isnan(found.coverage[1])
    assert horizon_scores(homes.select(["model"]), "skill") is None
