"""docs/examples/lock: a lock advises from its own model in C, offline, and moves nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fedhome.data.series.local_time import local_seconds
from fedhome.personal.model import PersonalModel
from fedhome.personal.portable import export_model
from fedhome.plan.settings import Plan
from fedhome.simulations.simulate import simulate
from helpers.random_own_models import COMPILER, STRICT

LOCK = Path(__file__).resolve().parents[2] / "docs" / "examples" / "lock"
HOME, DAYS, QUARTERS = "door", 21, 96

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="there is no C compiler, cc, here"),
]


def readings(number: int, days: int = DAYS) -> pa.Table:
    """Return a door that is unlocked about half past seven and five o'clock, and now and then."""
    draw = np.random.default_rng(number)
    quarter = np.arange(days * QUARTERS)
    hour = quarter % QUARTERS / 4
    usual = (np.abs(hour - 7.5) < 0.3) | (np.abs(hour - 17) < 0.3)
    unlocked = draw.random(len(hour)) < np.where(usual, 0.8, 0.02)
    motion = draw.random(len(hour)) < np.where(np.roll(unlocked, -1), 0.7, 0.1)
    begin = np.datetime64("2026-02-02T00:00:00") + quarter * np.timedelta64(15, "m")
    return pa.table(
        {
            "time": pa.array(begin, pa.timestamp("s")),
            "motion": pa.array(motion.astype(np.int64)),
            "unlocked": pa.array(np.where(unlocked, "yes", "no")),
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PersonalModel:
    quick: dict[str, Any] = {"aggregation": {"mode": "plain"}, "rounds": {"count": 2}}
    homes = {HOME: readings(0), **{f"other-{n}": readings(n) for n in (1, 2)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedhome.simulations.simulate.write_report", lambda *_: None)
        folder = tmp_path_factory.mktemp("lock") / "run"
        return simulate(Plan.load(LOCK / "plan.toml", **quick), homes=homes, out=folder).models[
            HOME
        ]


@pytest.fixture(scope="module")
def lock(model: PersonalModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c")
    shutil.copy(LOCK / "lock.c", folder)
    (folder / "door.c").write_bytes(export_model(model, "c"))
    words = [str(COMPILER), *STRICT, "-O2", "lock.c", "-o", "lock", "-lm"]
    made = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return folder / "lock"


def advised(lock: Path, lines: list[str]) -> list[float]:
    done = subprocess.run(
        [lock], input="\n".join(lines), capture_output=True, text=True, check=False, env={}
    )
    assert done.returncode == 0, done.stdout
    said = r"unlock expected in the next 15 minutes: (\d\.\d\d)"
    return [float(number) for number in re.findall(rf"^{said}$", done.stdout, re.MULTILINE)]


def test_the_lock_advises_what_its_homes_model_predicts(model: PersonalModel, lock: Path) -> None:
    """Some quarters of an hour are lost on the way: both take the last that was read before."""
    table = readings(9, days=6)
    kept = np.ones(len(table), bool)
    kept[300:305] = kept[310] = False
    table = table.filter(pa.array(kept))
    predicted = model.predict(table)
    said = dict(
        zip(
            predicted["time"].cast("int64").to_pylist(),
            predicted["P(yes)"].to_pylist(),
            strict=True,
        )
    )
    # The columns are the home's own clock, an hour before UTC's in winter.
    begin = table["time"].cast("int64").to_numpy()
    assert (local_seconds(begin - 3600, "Europe/Berlin") == begin).all()
    lines = [
        f"{moment} {int(unlocked == 'yes')} {motion}"
        for moment, unlocked, motion in zip(
            begin.tolist(), table["unlocked"].to_pylist(), table["motion"].to_pylist(), strict=True
        )
    ]
    found = advised(lock, lines)
    assert len(found) == len(begin)
    # Python predicts no moment that the readings pass over.
    both = [
        (number, said[moment - 3600 + 900])
        for number, moment in zip(found, begin.tolist(), strict=True)
        if moment - 3600 + 900 in said
    ]
    assert len(both) > len(found) - 5
    np.testing.assert_allclose(*np.array(both).T, atol=0.005001)
    assert max(found) > 0.5 > min(found)


def test_the_lock_can_do_nothing_but_read_its_sensors_and_say_something(lock: Path) -> None:
    """It has no function that could open a file, a socket, a device or another program."""
    names = shutil.which("nm")
    if names is None:
        pytest.skip("nm, of binutils, is not here")
    told = subprocess.run(
        [names, "--dynamic", "--undefined-only", lock], capture_output=True, text=True, check=True
    )
    wanted = {line.split()[-1].partition("@")[0] for line in told.stdout.splitlines()}
    ours = {name for name in wanted if not name.startswith("_") or "scanf" in name}
    reads = {name for name in ours if "scanf" in name}
    assert reads
    says = {"printf", "puts", "putchar", "fflush", "stdout"}
    assert ours - reads <= says | {"sin", "cos", "sincos", "expf", "exp", "powf", "sqrtf"}


def test_a_line_that_is_no_quarter_of_an_hour_ends_the_lock_and_says_so(lock: Path) -> None:
    done = subprocess.run([lock], input="901 0 0\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "901 is not the begin of a quarter of an hour\n")
