"""The plan trains the model of this folder, with its strategy."""

from pathlib import Path

import numpy as np

import fedhome

PLAN = Path(__file__).with_name("plan.toml")
TINY = ("data.homes=5", "data.days=10", "rounds.count=1", "personalise.name=none")


def trained(folder: Path, share: float) -> dict[str, np.ndarray]:
    """Return the model after one round."""
    plan = fedhome.Plan.load(PLAN, sets=[*TINY, f"strategy.args.share={share}"])
    return dict(fedhome.simulate(plan, out=folder).model.parameters)


def test_half_the_way_is_half_way_between_the_start_and_the_mean(tmp_path: Path) -> None:
    start, half, mean = (trained(tmp_path / f"{share}", share) for share in (0.0, 0.5, 1.0))
    assert {"line.weight", "bend.weight"} <= set(half)
    for name, value in half.items():
        assert not np.array_equal(start[name], mean[name])
        np.testing.assert_allclose(value, (start[name] + mean[name]) / 2, atol=1e-6)
