"""Where the vector engine computes: the processor, or one GPU.

The engine itself stays with numpy. Examples go to the device once, a chunk's parameters once, the
order of its batches once a pass; the chunk's results come back once. In between nothing waits for
the device: no step asks for a number.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedhome.errors import EngineError
from fedhome.learning.local import LocalLearning
from fedhome.plan.settings import DEVICES, EngineSettings, Precision
from fedhome.simulations.engines.stacked_homes import Spans, StackedHomes
from fedhome.simulations.engines.streamed_examples import (
    CopyLane,
    CudaLane,
    Examples,
    Turn,
    bytes_of,
    parts_of,
    streamed,
)

_LEAST_CHUNKS = 8
_GPU_NUMBERS = 1 << 28  # float32 of a chunk's parameters and activations: 1 GiB
_GPU_HOMES = 1 << 12  # sums within a chunk are float32: no more terms than round off unseen
_ORDER_NUMBERS = 1 << 24  # int64 of the orders of a chunk's batches, in this machine's memory
_WHOLE = "ieee"  # of float32: all 24 bits, not the eleven of TF32


class Placement:
    """A device, and the way there and back.

    Args:
        device: The processor, or a GPU.
        precision: Of products in training, on a GPU.
        room_bytes: What examples may take of its memory; None: all that they need.
    """

    def __init__(
        self,
        device: torch.device,
        precision: Precision = "float32",
        *,
        room_bytes: int | None = None,
    ) -> None:
        self.device = device
        self.precision = precision
        self.room_bytes = room_bytes
        self._there: tuple[StackedHomes, Examples] | None = None

    @classmethod
    def of(cls, engine: EngineSettings, *, sharing: int = 1) -> Placement:
        """Return the placement of a plan's ``engine.device``, ``.precision``, ``.examples_gb``.

        Args:
            engine: The plan's settings of it.
            sharing: How many shards there are on a GPU, which share the room for examples.

        Raises:
            EngineError: No such device is known, or there is none on this machine.
        """
        name = engine.device
        if not DEVICES.fullmatch(name):
            raise EngineError(
                f"engine.device = {name!r} is no device that fedhome computes on",
                hint='set it to "cpu", "cuda" or "cuda:N"',
            )
        if name == "cpu":
            return cls(torch.device("cpu"))
        if not torch.cuda.is_available():
            raise EngineError(
                f"engine.device = {name}, but torch {torch.__version__} finds no CUDA GPU here",
                hint="a plain `pip install torch` may be a build for the processor alone (its "
                "version ends in +cpu): pytorch.org says which build fits your driver; "
                'or set engine.device = "cpu"',
            )
        device, found = torch.device(name), torch.cuda.device_count()
        if (device.index or 0) >= found:
            raise EngineError(
                f"engine.device = {name}, but torch finds only {found} here (from cuda:0)",
                hint="`nvidia-smi` lists the GPUs; CUDA_VISIBLE_DEVICES may hide some",
            )
        device = torch.device("cuda", device.index or 0)
        room = int(1e9 * engine.examples_gb) or torch.cuda.mem_get_info(device)[0] // 2
        return cls(device, engine.precision, room_bytes=room // sharing)

    @property
    def elsewhere(self) -> bool:
        """Whether the device has a memory of its own."""
        return self.device.type != "cpu"

    def check(self, learning: LocalLearning, features: int) -> None:
        """Refuse a model that does not run on a GPU.

        Args:
            learning: What holds the model.
            features: Width of its input.

        Raises:
            EngineError: It does not.
        """
        if self.elsewhere:
            with self.explained():
                first = learning.split(self.put(learning.initial))
                learning.predict(first, torch.zeros(1, features, device=self.device))

    def put(self, array: NDArray[Any]) -> Tensor:
        """Bring an array over; on the processor the tensor shares its memory."""
        here = torch.from_numpy(array)
        # From pinned memory the copy runs while the next array is made.
        return here.pin_memory().to(self.device, non_blocking=True) if self.elsewhere else here

    def take(self, tensor: Tensor) -> NDArray[Any]:
        """Bring a tensor back; on the processor the array shares its memory."""
        array: NDArray[Any] = tensor.cpu().numpy()
        return array

    def take_into(self, array: NDArray[np.float32], tensor: Tensor) -> None:
        """Bring back what an array has become that was :meth:`put`."""
        if self.elsewhere:
            array[...] = self.take(tensor)

    def examples(self, fleet: StackedHomes) -> Examples:
        """Return a fleet's examples; they are brought over when first asked for."""
        if self._there is None or self._there[0] is not fleet:
            self._there = fleet, Examples(self.put(fleet.x), self.put(fleet.y))
        return self._there[1]

    def holds(self, fleet: StackedHomes) -> bool:
        """Whether a fleet's examples fit where they are trained on, all together."""
        return self.room_bytes is None or bytes_of(fleet) <= self.room_bytes

    def lane(self) -> CopyLane:
        """Return what copies examples beside what is computed."""
        return CudaLane(self.device)

    @contextmanager
    def turns(
        self, fleet: StackedHomes, chunks: Sequence[Spans]
    ) -> Iterator[Callable[[int], Iterator[Turn]]]:
        """Open the examples of chunks that are trained one after the other, by their numbers.

        Args:
            fleet: All homes.
            chunks: The chunks, and where their homes' rows lie.

        Raises:
            EngineError: A single home's examples are more than there is room for.
        """
        if self.room_bytes is not None and not self.holds(fleet):
            with streamed(fleet, chunks, lane=self.lane(), room_bytes=self.room_bytes) as turns:
                yield turns
            return
        examples = self.examples(fleet)

        def whole(number: int) -> Iterator[Turn]:
            del number
            yield Turn(slice(None), examples, None)

        yield whole

    def told_of(self, fleet: StackedHomes) -> str:
        """Return in a sentence that examples do not fit, and what follows; empty where they do."""
        if self.room_bytes is None or self.holds(fleet):
            return ""
        begin, counts = fleet.spans(np.arange(len(fleet.homes)), "train")
        everyone = Spans(np.arange(len(counts)), begin, counts)
        parts = len(parts_of(fleet, everyone, self.room_bytes))
        return (
            f"the examples take {bytes_of(fleet) / 1e9:.3g} GB, and {self.room_bytes / 1e9:.3g} GB "
            f"of {self.device} are for them (engine.examples_gb): those of training go over in "
            f"{parts} parts or more, anew in each pass, two of them there at a time"
        )

    def chunk_size(self, most: int, counts: NDArray[np.int64]) -> int:
        """Return how many homes make a chunk.

        Args:
            most: What suits the kernel.
            counts: How many rows each home's order names, ``[homes]``.
        """
        if self.elsewhere:
            return max(1, min(most, _ORDER_NUMBERS // max(1, int(counts.max(initial=0)))))
        # Small fleets are cut too, so that all cores have work; the cut does not depend on how
        # many there are, so neither does the rounding of the sums.
        return max(1, min(most, -(-len(counts) // _LEAST_CHUNKS)))

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Let a GPU compute whole float32, and the same bytes in every run.

        Source: PyTorch's notes on reproducibility and on numerical accuracy.
        """
        if not self.elsewhere:
            yield
            return
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product
        cuda: Any = torch.backends.cuda  # these three say nothing of their types
        cudnn: Any = torch.backends.cudnn
        fill: Any = torch.utils.deterministic
        product, convolution = cuda.matmul, cudnn.conv
        before = (
            product.fp32_precision,
            convolution.fp32_precision,
            fill.fill_uninitialized_memory,
            torch.are_deterministic_algorithms_enabled(),
        )
        product.fp32_precision = convolution.fp32_precision = _WHOLE
        fill.fill_uninitialized_memory = False
        torch.use_deterministic_algorithms(mode=True)
        try:
            yield
        finally:
            product.fp32_precision, convolution.fp32_precision = before[:2]
            fill.fill_uninitialized_memory = before[2]
            torch.use_deterministic_algorithms(mode=before[3])

    @contextmanager
    def training(self) -> Iterator[None]:
        """Let torch's products be as coarse as the plan wants them; scores are computed outside."""
        if self.precision == "float32":
            yield
            return
        cuda: Any = torch.backends.cuda
        cudnn: Any = torch.backends.cudnn
        before = cuda.matmul.fp32_precision, cudnn.conv.fp32_precision
        cuda.matmul.fp32_precision = cudnn.conv.fp32_precision = self.precision
        try:
            yield
        finally:
            cuda.matmul.fp32_precision, cudnn.conv.fp32_precision = before

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Say in an error of this engine what failed on a GPU: no memory, no such operation.

        Raises:
            EngineError: It failed.
        """
        try:
            yield
        except RuntimeError as error:
            if not self.elsewhere:
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise EngineError(
                f"{self.device} failed: {reason}",
                hint="free its memory (`nvidia-smi` shows who holds it); a module's constants "
                'must be buffers, or they stay behind; or set engine.device = "cpu"',
            ) from error


PROCESSOR = Placement(torch.device("cpu"))


def homes_at_once(learning: LocalLearning, features: int) -> int:
    """Return how many homes a GPU trains at once: as many as fill it, within its memory.

    Counted for each home: its parameters as they came, at work, as gradient, anchor and in the
    optimiser; for each row of its batch the input and, three times (forward, kept for the
    gradient, the gradient), what the layers put out.
    """
    train = learning.train
    copies = 4 + len(learning.optimiser.slots(train))
    rows = train.batch_rows * (features + 3 * outputs_of(learning.model, features))
    return int(np.clip(_GPU_NUMBERS // (copies * learning.layout.size + rows), 1, _GPU_HOMES))


def outputs_of(model: nn.Module, features: int) -> int:
    """Return how many numbers the layers of a module put out for one row."""
    counted: list[int] = []

    def count(_module: nn.Module, _given: Any, output: Any) -> None:
        parts = output if isinstance(output, tuple) else (output,)
        counted.extend(part.numel() for part in parts if isinstance(part, Tensor))

    own = copy.deepcopy(model)
    for part in own.modules():
        if not list(part.children()):
            part.register_forward_hook(count)
    with torch.no_grad():
        own(torch.zeros(1, features))
    return sum(counted)
