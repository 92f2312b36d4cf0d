"""A home's worker on a device without torch: an MLP's questions are all answered by it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from fedhome.clients.agent.work import WorkerProcess
from fedhome.clients.home import real_home
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.flower.fleet_connection import message_bytes, message_of
from fedhome.flower.messages import array_record, take_identity
from fedhome.learning.build import learning_of
from fedhome.learning.cohort import Training
from fedhome.learning.device import Device
from fedhome.learning.sliced_device import sliced_device
from fedhome.personal.models_file import ModelsFile
from fedhome.plan.settings import Plan
from fedhome.server.rounds.judging import adaptation_of
from helpers import tiny
from helpers.kept_home import HOME, NUMBERS, kept_home

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="hands a descriptor to a child"),
]

_BLOCK = """
import sys


class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "functorch"}:
            raise ImportError("torch is not to be loaded here")


sys.meta_path.insert(0, Refused())
"""


@pytest.fixture
def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that are started refuse to import torch."""
    folder = tmp_path / "blocking"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_BLOCK)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")


def home_folder(root: Path, **sections: Any) -> HomeFolder:
    plan = NUMBERS.change(
        personalise={"name": "fine-tune", "epochs": 2, "local_epochs": 3, "rates": [0.5, 1.0]},
        **sections,
    )
    return kept_home(root, plan)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[tuple[HomeFolder, WorkerProcess]]:
    place = home_folder(tmp_path)
    with closing(WorkerProcess(place, SimpleNamespace())) as made:  # type: ignore[arg-type]
        yield place, made


def asked(kind: str, device: Device, **settings: Any) -> Message:
    """Return a question about the model that a run begins with, as it comes over the wire."""
    take_identity(1)
    arrays = array_record(device.learning.layout, device.learning.initial)
    content = RecordDict({"arrays": arrays, "config": ConfigRecord(settings)})
    return message_of(message_bytes(Message(content, dst_node_id=5, message_type=kind)))


def by_torch(place: HomeFolder) -> Device:
    """Return the same home, as torch trains it."""
    plan = Plan.load(place.plan_path)
    examples = real_home(plan, place.settings.data, name=HOME).device.examples
    return Device(learning_of(plan, examples.x.shape[1]), examples, plan.seed)


def numbers(message: Message) -> np.ndarray[Any, Any]:
    assert message.has_content(), message.error.reason
    (record,) = [r for r in message.content.values() if isinstance(r, ArrayRecord)]
    (array,) = record.values()
    return np.asarray(array.numpy())


@pytest.mark.usefixtures("blocked")
def test_a_worker_answers_a_whole_run_without_torch_as_torch_would(
    worker: tuple[HomeFolder, WorkerProcess],
) -> None:
    place, process = worker
    device, plan = by_torch(place), Plan.load(place.plan_path)
    answer = process.answer(asked("train", device, **{"server-round": 1}))
    expected = device.train(device.learning.initial, Training(stream=1, epochs=plan.train.epochs))
    np.testing.assert_allclose(numbers(answer), expected.params[0], rtol=2e-4, atol=2e-5)
    assert np.abs(numbers(answer) - device.learning.initial).max() > 1e-3
    assert_ends(process, plan, device)
    assert set(ModelsFile(process._own_model.kept)) == {HOME}


def assert_ends(process: WorkerProcess, plan: Plan, device: Device) -> None:
    """Ask all that a run asks after its rounds; each is answered."""
    ending = tiny.ending(len(plan.personalise.experts))
    chosen = {name: ending[name] for name in ("rate", "epochs")}
    for kind, settings in (
        ("evaluate", {}),
        ("evaluate.adapted", adaptation_of(plan)),
        ("evaluate.trial", {}),
        ("evaluate.blend", chosen),
        ("evaluate.shrink", {**chosen, "matrix": ending["matrix"]}),
        ("evaluate.outcome", ending),
    ):
        answer = process.answer(asked(kind, device, **{"server-round": 1, **settings}))
        assert answer.has_content(), (kind, answer.error.reason)


TIERS = [
    {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.5},
    {"name": "hub", "width": 1.0, "depth": 2, "share": 0.5},
]


@pytest.mark.usefixtures("blocked")
def test_a_worker_that_carries_a_slice_answers_a_whole_run_without_torch(tmp_path: Path) -> None:
    place = home_folder(tmp_path, model={"hidden": [8, 8]}, slicing={"tiers": TIERS})
    place.change_settings(replace(place.settings, tier="hub"))
    plan = Plan.load(place.plan_path)
    examples = real_home(plan, place.settings.data, name=HOME).device.examples
    whole = Device(learning_of(plan, examples.x.shape[1]), examples, plan.seed)
    rounds = sliced_device(plan, examples, tier="hub").rounds
    assert rounds is not None
    start = whole.learning.initial
    with closing(WorkerProcess(place, SimpleNamespace())) as process:  # type: ignore[arg-type]
        answer = process.answer(asked("train", whole, **{"server-round": 1}))
        expected = rounds.train(start, Training(stream=1, epochs=plan.train.epochs))
        np.testing.assert_allclose(numbers(answer), expected.params[0], rtol=2e-4, atol=2e-5)
        assert np.abs(numbers(answer) - start).max() > 1e-3
        assert_ends(process, plan, whole)
        assert set(ModelsFile(process._own_model.kept)) == {HOME}


@pytest.mark.usefixtures("blocked")
def test_a_module_that_is_torchs_alone_fails_where_torch_cannot_be_had(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = home_folder(tmp_path, model={"norm": "layer"})
    device = by_torch(place)
    with closing(WorkerProcess(place, SimpleNamespace())) as process:  # type: ignore[arg-type]
        assert process.answer(asked("train", device, **{"server-round": 1})).has_error()
    assert "torch trains this home" in capfd.readouterr().err
