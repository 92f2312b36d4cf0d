"""What a home's own model computes from numbers, in a process that stays and has little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fedhome
from fedhome.clients.agent.own_model import OwnModelKeeper, keep_ended
from fedhome.errors import DataError, RunError
from fedhome.personal.models_file import ModelsFile, to_bytes
from fedhome.personal.portable import probe
from fedhome.personal.stored_models import StoredModels
from helpers.kept_home import MEAN, kept_home, runs_of
from helpers.random_own_models import Shape, own_model

_COSTLY = ("pyarrow", "pydantic", "pydantic_core", "typer", "rich", "torch", "sklearn", "scipy")
_COSTLY += ("flwr", "grpc", "httpx", "msgpack", "cryptography", "hashlib", "email", "tomli_w")
_SEALED = ("msgpack", "cryptography", "hashlib", "tomli_w")
"""What it takes to open a home's folder."""
EXPERTS = ("tuned", "global", "ridge", "trees", "constant", "lost")
SHAPES = (
    Shape(experts=(*EXPERTS, "daily", "weekly"), indicators=True, season=1, quarters=True),
    Shape(targets="binary", experts=EXPERTS, bounded=False),
    Shape(targets="multi-class", experts=EXPERTS, indicators=True),
)


def loaded(path: Path, home: str, costly: tuple[str, ...]) -> str:
    """Predict in a process of its own, and return what of this it has loaded."""
    script = (
        "import sys, fedhome, numpy as np\n"
        "found = fedhome.load_predictor(sys.argv[1], sys.argv[2])\n"
        "assert np.isfinite(found.predict(np.ones((1, len(found.inputs))))).all()\n"
        f"print([name for name in {costly!r} if name in sys.modules])\n"
    )
    words = [sys.executable, "-c", script, str(path), home]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.long
def test_a_process_that_stays_loads_numpy_and_no_reader_of_tables(tmp_path: Path) -> None:
    (tmp_path / "models.safetensors").write_bytes(to_bytes([own_model(SHAPES[0], 1)]))
    assert loaded(tmp_path, "oak", _COSTLY) == "[]"


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")
def test_a_homes_folder_is_opened_without_flower_and_without_tables(tmp_path: Path) -> None:
    place = kept_home(tmp_path)
    with pytest.raises(RunError, match="has no model of its own yet"):
        fedhome.load_predictor(place.path)
    keep_ended(runs_of(place, 0.0), OwnModelKeeper(place), run=1)
    predictor = fedhome.load_predictor(place.path)
    assert predictor.predict(np.ones((2, len(predictor.inputs))))[:, 0] == pytest.approx(
        MEAN, abs=0.3
    )
    costly = tuple(name for name in _COSTLY if name not in _SEALED)
    assert loaded(place.path, "kitchen", costly) == "[]"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.targets)
def test_it_is_read_from_a_file_as_the_plan_of_that_file_says(shape: Shape) -> None:
    data = to_bytes([own_model(shape, seed, home) for seed, home in enumerate(("ash", "oak"))])
    read, whole = StoredModels(data).predictor("oak"), ModelsFile(data)["oak"]
    for name in ("target", "target_unit", "classes", "indicators", "inputs", "outputs", "slots"):
        assert getattr(read, name) == getattr(whole.predictor, name), name
    raw = probe(whole)
    np.testing.assert_array_equal(read.predict(raw), whole.predictor.predict(raw))


def test_rows_of_another_length_are_refused() -> None:
    predictor = own_model(SHAPES[0], 1).predictor
    for wrong in (np.ones(len(predictor.inputs)), np.ones((1, len(predictor.inputs) + 1))):
        with pytest.raises(DataError, match=f"takes rows of {len(predictor.inputs)} numbers"):
            predictor.predict(wrong)


def test_a_file_of_several_homes_is_asked_by_name(tmp_path: Path) -> None:
    path = tmp_path / "models.safetensors"
    path.write_bytes(to_bytes([own_model(Shape(), 1, home) for home in ("ash", "oak")]))
    assert fedhome.load_predictor(path, "ash").home == "ash"
    with pytest.raises(RunError, match="holds the models of 2 homes"):
        fedhome.load_predictor(tmp_path)
    with pytest.raises(RunError, match="no model of 'asch'"):
        fedhome.load_predictor(path, "asch")
