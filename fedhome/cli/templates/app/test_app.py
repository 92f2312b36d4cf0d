"""The plan trains the model of this folder, by its method and with its strategy."""

from pathlib import Path

import numpy as np

import fedhome

PLAN = Path(__file__).with_name("plan.toml")
TINY = ("data.homes=5", "data.days=10", "rounds.count=1", "personalise.name=none")


def trained(folder: Path, share: float, tether: float = 0.0) -> dict[str, np.ndarray]:
    """Return the model after one round."""
    strategy = (f"strategy.args.share={share}", f"strategy.args.tether={tether}")
    plan = fedhome.Plan.load(PLAN, sets=[*TINY, *strategy])
    return dict(fedhome.simulate(plan, out=folder).model.parameters)


def test_half_the_way_is_half_way_between_the_start_and_the_mean(tmp_path: Path) -> None:
    start, half, mean = (trained(tmp_path / f"{share}", share) for share in (0.0, 0.5, 1.0))
    assert {"line.weight", "bend.weight"} <= set(half)
    for name, value in half.items():
        assert not np.array_equal(start[name], mean[name])
        np.testing.assert_allclose(value, (start[name] + mean[name]) / 2, atol=1e-6)


def test_homes_on_a_short_tether_stay_near_the_start(tmp_path: Path) -> None:
    start = trained(tmp_path / "start", 0.0)
    free, tied = (trained(tmp_path / f"{t}", 1.0, tether=t) for t in (0.0, 8.0))
    gone = [sum(np.square(m[k] - start[k]).sum() for k in start) for m in (free, tied)]
    assert 0 < gone[1] < gone[0] / 2
