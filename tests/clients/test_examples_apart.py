"""A home's readings are read by a process of their own, and what learns loads no reader of them."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedhome.clients.agent.work import WorkerProcess
from fedhome.clients.examples_apart import _error_of, _told_of, examples_apart
from fedhome.clients.home import real_home
from fedhome.clients.own_readings import ReadingsSource, source_of
from fedhome.clients.recorded.reading_store import ReadingStore
from fedhome.clients.recorded.recording import Recorder
from fedhome.data.series.example_stream import read_examples, write_examples
from fedhome.data.series.examples import HomeExamples
from fedhome.errors import (
    DataError,
    EngineError,
    FedHomeError,
    InputsError,
    NoReadingsError,
    PlanError,
    SourceError,
    StateError,
)
from fedhome.flower.messages import array_record, take_identity
from fedhome.ops.processes import Child
from fedhome.plan.settings import Plan
from helpers.kept_home import CLASSES, HOME, NUMBERS, kept_home

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="hands a descriptor to a child")

INDICATED = NUMBERS.change(data={"indicators": ["outdoor"]})


def same(found: Any, expected: Any) -> None:
    """Hold two examples against each other: every field, its type, and all bits."""
    assert type(found) is type(expected)
    for one in fields(expected):
        mine, theirs = getattr(found, one.name), getattr(expected, one.name)
        assert type(mine) is type(theirs), one.name
        if hasattr(theirs, "__dataclass_fields__"):
            same(mine, theirs)
        elif isinstance(theirs, np.ndarray):
            assert mine.dtype == theirs.dtype, one.name
            assert mine.shape == theirs.shape, one.name
            assert mine.tobytes() == theirs.tobytes(), one.name
        elif one.name == "filled":
            assert list(mine) == list(theirs)
            assert all((mine[name] == theirs[name]).all() for name in theirs)
        else:
            assert mine == theirs, one.name


def through(examples: HomeExamples) -> HomeExamples:
    stream = io.BytesIO()
    write_examples(examples, stream)
    stream.seek(0)
    return read_examples(stream.readline(), stream)


def in_process(plan: Plan, source: ReadingsSource) -> HomeExamples:
    return real_home(plan, source, name=HOME).device.examples


@pytest.mark.parametrize("plan", [NUMBERS, CLASSES, INDICATED], ids=["numbers", "words", "told"])
def test_examples_come_through_bit_for_bit(tmp_path: Path, plan: Plan) -> None:
    place = kept_home(tmp_path, plan)
    examples = in_process(plan, source_of(place))
    same(through(examples), examples)
    holes = {"outdoor": np.arange(len(examples.x)) % 3 == 0}
    bare = replace(examples, filled=holes, scaling=None, time_s=np.empty(0, np.int64), notes=("a",))
    same(through(bare), bare)


def test_examples_that_end_too_early_are_none(tmp_path: Path) -> None:
    stream = io.BytesIO()
    write_examples(in_process(NUMBERS, source_of(kept_home(tmp_path))), stream)
    head, rest = stream.getvalue().split(b"\n", 1)
    with pytest.raises(ValueError, match="end too early"):
        read_examples(head, io.BytesIO(rest[:-1]))


@pytest.mark.long
def test_another_process_reads_a_file_and_a_store_as_this_one_does(tmp_path: Path) -> None:
    place = kept_home(tmp_path)
    for _ in range(2):
        source = source_of(place)
        apart = examples_apart(NUMBERS, source, name=HOME, reading={})
        same(apart, in_process(NUMBERS, source))
        Recorder(place).begin()
    assert isinstance(source, ReadingStore)


@pytest.mark.long
def test_arguments_of_the_process_tell_nothing_and_a_long_plan_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All accounts of a machine can list them, and Linux takes none longer than 128 KiB."""
    more = [f"\u0441\u043f\u0430\u043b\u044c\u043d\u044f-{number}" for number in range(4000)]
    plan = CLASSES.change(task={"classes": [*CLASSES.task.classes, *more]})
    assert len(json.dumps(plan.to_toml())) > 1 << 17
    seen = []

    def child(name: str, command: Sequence[str], **more: Any) -> Child:
        seen.append(command)
        return Child(name, command, **more)

    monkeypatch.setattr("fedhome.clients.examples_apart.Child", child)
    source = source_of(kept_home(tmp_path, plan))
    same(examples_apart(plan, source, name=HOME, reading={}), in_process(plan, source))
    ((*words, descriptor),) = seen
    assert int(descriptor) > 0
    assert not [word for word in words if HOME in word or "doing" in word or str(tmp_path) in word]


class Killed(Child):
    """A process that the system ends as soon as it is there, as where memory is short."""

    def start(self) -> None:
        super().start()
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def test_a_process_that_was_killed_is_told_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedhome.clients.examples_apart.Child", Killed)
    source = source_of(kept_home(tmp_path, CLASSES))
    os.close(before := os.dup(0))
    with pytest.raises(EngineError, match="ended with signal 9") as raised:
        examples_apart(CLASSES, source, name=HOME, reading={})
    assert "memory" in raised.value.hint
    os.close(after := os.dup(0))
    assert after == before


@pytest.mark.long
def test_what_it_cannot_read_is_the_same_error_here(tmp_path: Path) -> None:
    place = kept_home(tmp_path)
    Recorder(place).begin(filled=False)
    with pytest.raises(NoReadingsError, match="has no readings yet"):
        examples_apart(NUMBERS, source_of(place), name=HOME, reading={})
    with pytest.raises(SourceError, match="absent") as told:
        examples_apart(NUMBERS, tmp_path / "absent.csv", name=HOME, reading={})
    with pytest.raises(SourceError) as here:
        in_process(NUMBERS, tmp_path / "absent.csv")
    assert (told.value.message, told.value.hint) == (here.value.message, here.value.hint)


@pytest.mark.parametrize(
    "error",
    [
        DataError("few rows", hint="more"),
        InputsError("no outdoor"),
        StateError("another key", reason="wrong-key", hint="the right one"),
        PlanError(["no inputs", "no target"], hint="name some"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_keeps_its_kind_its_words_and_its_reason(error: FedHomeError) -> None:
    found = _error_of(_told_of(error))
    assert type(found) is type(error)
    assert vars(found) == vars(error)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_worker_that_trains_has_no_reader_of_tables_and_no_torch(tmp_path: Path) -> None:
    from flwr.app import ConfigRecord, Message, RecordDict  # noqa: PLC0415

    place = kept_home(tmp_path)
    Recorder(place).begin()
    learning = real_home(NUMBERS, source_of(place), name=HOME).device.learning
    take_identity(1)
    content = RecordDict(
        {
            "arrays": array_record(learning.layout, learning.initial),
            "config": ConfigRecord({"server-round": 1}),
        }
    )
    asked = Message(content, dst_node_id=5, message_type="train")
    with closing(WorkerProcess(place, SimpleNamespace())) as worker:  # type: ignore[arg-type]
        assert worker.answer(asked).has_content()
        mapped = Path(f"/proc/{worker.process}/maps").read_text()
    assert "numpy" in mapped
    for library in ("pyarrow", "torch", "sklearn", "scipy", "llvmlite", "grpc"):
        assert f"/{library}/" not in mapped, library
