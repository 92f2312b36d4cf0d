"""Steps that are recorded and repeated: which, when, and that homes learn the same.

A GPU's graph is played by a stand-in that notes what it is told, and launches it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest
import torch

from fedhome.errors import EngineError
from fedhome.learning.cohort import Training
from fedhome.learning.local import LocalLearning
from fedhome.learning.losses import Loss
from fedhome.learning.tasks import kind_of
from fedhome.simulations.engines.compute_device import PROCESSOR, Placement
from fedhome.simulations.engines.kernels import kernel_of
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.traced import CapturedKernel, TracedKernel, captured
from fedhome.simulations.engines.traced.captured import RepeatedStep, StepRecorder
from fedhome.simulations.engines.vector_cohort import VectorCohort
from helpers import tiny
from helpers.as_a_gpu import AsAGpu
from helpers.elsewhere import Here

Run = Callable[[], None]
TWO_ENDS = replace(
    kind_of("regression"),
    name="two ends",
    outputs=2,
    loss=Loss(name="two ends", rows=lambda output, y: (output - y).square().mean(dim=1)),
)
_Recorder = TypeVar("_Recorder", bound=StepRecorder)


class NotedRecorder(StepRecorder):
    """Repeats by launching again, and counts."""

    def __init__(self) -> None:
        self.recorded = self.repeated = 0

    def record(self, run: Run) -> Run:
        self.recorded += 1

        def repeat() -> None:
            self.repeated += 1
            run()

        return repeat


class FailingRecorder(StepRecorder):
    def record(self, _run: Run) -> Run:
        raise RuntimeError("operation not permitted when stream is capturing")


class ForgetfulRecorder(StepRecorder):
    def record(self, _run: Run) -> Run:
        return lambda: None


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> NotedRecorder:
    return recorded_by(monkeypatch, NotedRecorder())


def recorded_by(patch: pytest.MonkeyPatch, recorder: _Recorder) -> _Recorder:
    patch.setattr(CapturedKernel, "recorder_on", staticmethod(lambda _: recorder))
    return recorder


def cohort_by(kernel: TracedKernel, fleet: StackedHomes, learning: LocalLearning) -> VectorCohort:
    return VectorCohort(
        learning,
        fleet,
        seed=3,
        kernel=lambda _: kernel,
        workers=Here(),
        placement=kernel.placement,
    )


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_homes_learn_the_same_from_steps_that_are_repeated(
    dropout: float, recorder: NotedRecorder
) -> None:
    learning = tiny.learning(tiny.plan(model={"dropout": dropout}, train={"momentum": 0.9}))
    fleet, placement = StackedHomes.of(tiny.homes()), AsAGpu()
    found = []
    for kernel in (TracedKernel, CapturedKernel):
        cohort = cohort_by(kernel(learning, placement), fleet, learning)
        first = cohort.train(learning.initial, Training(stream=1, epochs=2))
        # What was recorded in one chunk is repeated in the next.
        found.append(cohort.train(first.params, Training(stream=2, epochs=3)).params)
    assert found[0].tobytes() == found[1].tobytes()
    # 41, 23, 16 and 9 rows in batches of 8: six steps a pass, of which the fourth and the fifth
    # are whole batches of one home, and so the same.
    assert recorder.recorded == 5
    assert recorder.repeated == 5 * 6 - 5 * 2  # of each the first two are launched


def test_a_step_is_recorded_when_it_has_been_launched_twice() -> None:
    events: list[str] = []
    recorder = NotedRecorder()
    step = RepeatedStep(lambda: events.append("taken"), recorder.record)
    for _ in range(5):
        step()
    assert (len(events), recorder.recorded, recorder.repeated) == (5, 1, 3)


def test_of_very_many_steps_some_are_launched_as_ever(
    recorder: NotedRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "_MOST_GRAPHS", 2)
    learning, fleet = tiny.learning(tiny.plan()), StackedHomes.of(tiny.homes())
    plain = cohort_by(TracedKernel(learning, AsAGpu()), fleet, learning)
    few = cohort_by(CapturedKernel(learning, AsAGpu()), fleet, learning)
    expected = plain.train(learning.initial, Training(stream=1, epochs=5)).params
    assert (
        few.train(learning.initial, Training(stream=1, epochs=5)).params.tobytes()
        == expected.tobytes()
    )
    assert recorder.recorded == 2


def test_it_is_tried_out_and_taken_and_a_note_says_so(recorder: NotedRecorder) -> None:
    notes: list[str] = []
    learning = tiny.learning(tiny.plan())
    kernel = kernel_of(learning, "auto", tiny.FEATURES, notes.append, AsAGpu())
    assert isinstance(kernel, CapturedKernel)
    assert recorder.repeated == 2, "the trial did not repeat what it recorded"
    (told,) = notes
    assert "homes train on cpu by the kernel 'captured'" in told
    assert "onchip: it is written for CUDA, not for cpu" in told


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (FailingRecorder(), "a trial of its steps failed: cpu failed: operation not permitted"),
        (ForgetfulRecorder(), "in a trial of its steps homes learnt something else"),
    ],
)
def test_where_the_trial_fails_steps_are_launched_and_a_note_says_why(
    bad: StepRecorder, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded_by(monkeypatch, bad)
    notes: list[str] = []
    learning = tiny.learning(tiny.plan())
    kernel = kernel_of(learning, "auto", tiny.FEATURES, notes.append, AsAGpu())
    assert type(kernel) is TracedKernel
    assert told in notes[0]
    with pytest.raises(EngineError, match=r"engine.kernel = captured does not fit"):
        kernel_of(learning, "captured", tiny.FEATURES, print, AsAGpu())


def test_a_target_that_is_told_by_two_outputs_is_tried_too(recorder: NotedRecorder) -> None:
    learning = tiny.learning(tiny.plan(task={"kind": f"{__name__}:TWO_ENDS"}))
    assert (learning.task.outputs, learning.task.targets) == (2, 1)
    assert CapturedKernel.fits(learning, tiny.FEATURES, AsAGpu()) == ""
    assert recorder.repeated == 2


def test_there_are_no_graphs_but_on_a_gpu() -> None:
    learning = tiny.learning(tiny.plan())
    assert CapturedKernel.fits(learning, tiny.FEATURES, PROCESSOR) == "it is written for a GPU"
    assert CapturedKernel.fits(learning, tiny.FEATURES, AsAGpu()) == "cpu has no CUDA graphs"
    assert isinstance(CapturedKernel.recorder_on(torch.device("cuda", 0)), captured.CudaRecorder)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU here")
def test_on_a_gpu_the_trial_goes_well() -> None:
    placement = Placement(torch.device("cuda", 0))
    with placement.exact():
        assert CapturedKernel.fits(tiny.learning(tiny.plan()), tiny.FEATURES, placement) == ""
