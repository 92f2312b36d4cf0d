"""The traced kernel with its steps captured: a GPU is told of a step once, and then to repeat it.

A step of a small network is some forty calls of torch, each a launch that takes the processor
longer than the GPU needs for it. Captured in a CUDA graph they are one launch.

Source: NVIDIA, "CUDA C++ programming guide", section "CUDA graphs"; PyTorch's notes on CUDA
semantics, "CUDA graphs".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from fedhome.errors import EngineError
from fedhome.learning.local import LocalLearning
from fedhome.simulations.engines.compute_device import PROCESSOR, Placement
from fedhome.simulations.engines.kernel_trial import FAULTS, trial
from fedhome.simulations.engines.traced.kernel import TracedKernel
from fedhome.simulations.engines.traced.workspace import Workspace

Run = Callable[[], None]
_LAUNCHED = 2  # times that a step is launched as it is: the first lets libraries take memory
_MOST_GRAPHS = 64  # of a workspace: of many ragged homes few steps are ever repeated
_TRIED_ROWS = (4, 4, 3)  # of three homes: the last one's batch is padded


class StepRecorder(Protocol):
    """Turns what a function launches into something that can be repeated."""

    def record(self, run: Run, /) -> Run:
        """Return what repeats all that ``run`` launches; it is not run meanwhile."""


class CudaRecorder(StepRecorder):
    """Records CUDA graphs.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def record(self, run: Run) -> Run:
        """Capture a graph; another thread, which sends examples, may go on meanwhile."""
        cuda: Any = torch.cuda  # it says nothing of its types
        graph = cuda.CUDAGraph()
        with cuda.device(self._device), cuda.graph(graph, capture_error_mode="thread_local"):
            run()
        replay: Run = graph.replay
        return replay


class RepeatedStep:
    """A step that is launched as it is for some times, and then repeated from its record.

    Args:
        run: Launches it.
        record: Records it, as :meth:`StepRecorder.record`; None where it may not.
    """

    def __init__(self, run: Run, record: Callable[[Run], Run | None]) -> None:
        self._run, self._record = run, record
        self._times = 0
        self._repeat: Run | None = None

    def __call__(self) -> None:
        """Take the step."""
        if self._repeat is None:
            self._times += 1
            if self._times <= _LAUNCHED:
                self._run()
                return
            self._repeat = self._record(self._run) or self._run
        self._repeat()


class CapturedWorkspace(Workspace):
    """A workspace whose steps are recorded.

    Args:
        learning: What is computed.
        homes: Most homes of a chunk.
        device: Where they are trained.
        recorder: Records steps.
    """

    def __init__(
        self, learning: LocalLearning, homes: int, device: torch.device, recorder: StepRecorder
    ) -> None:
        super().__init__(learning, homes, device)
        self._recorder, self._recorded = recorder, 0

    def runner(self, run: Run) -> Run:
        """Return the step, to be recorded when it is repeated."""
        return RepeatedStep(run, self._record)

    def _record(self, run: Run) -> Run | None:
        if self._recorded >= _MOST_GRAPHS:
            return None
        self._recorded += 1
        return self._recorder.record(run)


class CapturedKernel(TracedKernel):
    """Runs the traced step from a CUDA graph. Before it is taken, it is tried out on the GPU."""

    @staticmethod
    def recorder_on(device: torch.device) -> StepRecorder | None:
        """Return what records steps on a device; None where nothing does."""
        return CudaRecorder(device) if device.type == "cuda" else None

    @classmethod
    def fits(cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR) -> str:
        """Return why a learning cannot be captured; empty where a trial went well."""
        if not placement.elsewhere:
            return "it is written for a GPU"
        if cls.recorder_on(placement.device) is None:
            return f"{placement.device} has no CUDA graphs"
        return super().fits(learning, features, placement) or cls._trial(
            learning, features, placement
        )

    @classmethod
    def _trial(cls, learning: LocalLearning, features: int, placement: Placement) -> str:
        """Return in what a few homes differ that train by it from those that do without it."""
        kernels = [partial(kernel, placement=placement, chunk=3) for kernel in (TracedKernel, cls)]
        try:
            _, (expected, found) = trial(
                kernels, learning, features, counts=_TRIED_ROWS, passes=2 * _LAUNCHED
            )
        except EngineError as error:
            return f"a trial of its steps failed: {error.message}"
        close = partial(np.allclose, rtol=1e-5, atol=1e-7)
        same = close(expected.params, found.params), close(expected.losses, found.losses)
        faults = [fault for fault, holds in zip(FAULTS, same, strict=True) if not holds]
        return f"in a trial of its steps homes {faults[0]}" if faults else ""

    def new_workspace(self, homes: int) -> Workspace:
        """Return memory whose steps are recorded."""
        device = self.placement.device
        recorder = self.recorder_on(device)
        assert recorder is not None, "it does not fit here"
        return CapturedWorkspace(self.learning, homes, device, recorder)
