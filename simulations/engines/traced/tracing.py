"""Record one step of many homes as a graph of torch's own operations (aten).

This is the only file that stands on the parts of torch that promise no stability: ``make_fx``,
fake tensors, and what an operation says about itself.

**One trace serves any number of homes.** The step is traced with fake tensors, which have a
shape and no memory, for a number of homes that is a prime and divides nothing else in the graph.
Whatever integer is a multiple of it (in a shape, a stride, an argument) therefore counts homes,
and :class:`Count` puts the true number in its place.

**Threads.** Tracing sets modes that belong to its thread, but ``torch.fx`` also wraps methods of
``nn.Module`` for the whole process. Hence only one thread of the process traces at a time. What
the others do meanwhile is safe: a bound program calls plain operations on plain tensors, and
the wrapped methods pass on what a module is called with in a thread that does not trace.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from fedhome.errors import EngineError
from fedhome.learning.local import Batch, LocalLearning, State
from fedhome.learning.params import Params
from fedhome.models.over_homes import over_homes, without_torchs_warning
from fedhome.simulations.engines.traced.budget import not_home_by_home

_PRIMES = (1_000_003, 1_000_033, 1_000_037)
_LOCK = threading.Lock()
_PROCESSOR = torch.device("cpu")

Target = Callable[..., Any]


@dataclass(frozen=True)
class Count:
    """Puts a number of homes in place of the prime that a graph was traced with.

    Args:
        traced: The prime.
        homes: The true number.
    """

    traced: int
    homes: int

    def __call__(self, value: Any) -> Any:
        """Return a shape, a stride or an argument as it is for this number of homes."""
        if isinstance(value, (list, tuple, torch.Size)):
            return [self(item) for item in value]
        if isinstance(value, int) and not isinstance(value, bool) and value % self.traced == 0:
            return value // self.traced * self.homes
        return value


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """What makes one trace differ from another.

    Args:
        rows: Rows of a home's batch.
        masked: Whether some of them may be padding.
        features: Width of the input.
    """

    rows: int
    masked: bool
    features: int


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A step as a functional graph: nothing in it changes what it reads.

    Args:
        graph: Its placeholders are the tensors of ``inputs`` in order; it returns the next
            value of each tensor of the state, then the loss.
        module: Owner of the graph's constants.
        inputs: Names: ``params.…``, ``slots.….…``, ``anchor.…``, ``steps``, ``x``, ``y``,
            ``key`` and, of a masked batch, ``mask``.
        states: How many of the inputs belong to the state.
        prime: The number of homes it was traced with.
        rewrites: How often each pass has rewritten it.
    """

    graph: fx.Graph
    module: fx.GraphModule
    inputs: tuple[str, ...]
    states: int
    prime: int
    rewrites: Counter[str] = field(default_factory=Counter)

    def reads(self, name: str) -> bool:
        """Say whether an input makes a difference."""
        node = next(itertools.islice(self.graph.nodes, self.inputs.index(name), None))
        return len(node.users) > 0


def column_major(shape: torch.Size) -> bool:
    """Say whether a matrix of weights is stored transposed: its longer side contiguous.

    Products accumulate into rows of many numbers up to six times as fast as into rows of ten.
    """
    return len(shape) == 2 and shape[0] > shape[1] > 1  # noqa: PLR2004


def stacked(homes: int, like: Tensor) -> Tensor:
    """Return an empty tensor ``[homes, ...]`` in the layout in which parameters are kept."""
    kind: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
    if column_major(like.shape):
        return torch.empty(homes, *like.shape[::-1], **kind).transpose(1, 2)
    return torch.empty(homes, *like.shape, **kind)


def flat_state(state: State) -> dict[str, Tensor]:
    """Return the tensors of a state by name, in a fixed order."""
    return {
        **{f"params.{name}": p for name, p in state.params.items()},
        **{
            f"slots.{slot}.{name}": t
            for slot, named in state.slots.items()
            for name, t in named.items()
        },
        **{f"anchor.{name}": p for name, p in state.anchor.items()},
        "steps": state.steps,
    }


def nested_state(tensors: dict[str, Tensor]) -> State:
    """Return the state whose tensors these are."""
    params: Params = {}
    slots: dict[str, Params] = {}
    anchor: Params = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "params":
            params[rest] = tensor
        elif kind == "slots":
            slot, _, own = rest.partition(".")
            slots.setdefault(slot, {})[own] = tensor
        elif kind == "anchor":
            anchor[rest] = tensor
    return State(params, slots, anchor, tensors["steps"])


def sample_state(learning: LocalLearning, device: torch.device) -> dict[str, Tensor]:
    """Return the state that one home starts from, by name."""
    named = learning.model.named_parameters()
    return flat_state(
        learning.init({n: torch.zeros_like(p.detach(), device=device) for n, p in named})
    )


def sample_batch(
    learning: LocalLearning, shape: BatchShape, homes: int, device: torch.device
) -> dict[str, Tensor]:
    """Return an empty batch of this many homes, by name."""
    rows = (homes, shape.rows)
    whole: dict[str, Any] = {"dtype": torch.int64, "device": device}
    batch = {
        "x": torch.empty(*rows, shape.features, device=device),
        "y": torch.empty(rows, **whole)
        if learning.loss.labels
        else torch.empty(*rows, learning.task.targets, device=device),
        "key": torch.empty(homes, **whole),
    }
    return {**batch, "mask": torch.empty(rows, device=device)} if shape.masked else batch


def record(learning: LocalLearning, shape: BatchShape, device: torch.device = _PROCESSOR) -> Trace:
    """Trace the vmapped step for batches of a shape.

    The graph makes its constants on the device that it was traced for.

    Raises:
        EngineError: The module does what cannot be traced, or what torch computes home by home;
            the message holds the reason.
    """
    with _LOCK:
        sample = sample_state(learning, device)
        prime = _prime(sample, shape)
        names = (*sample, "x", "y", "key", *(["mask"] if shape.masked else []))

        def step(*values: Tensor) -> list[Tensor]:
            given = dict(zip(names, values, strict=True))
            mask = given.get("mask")
            if mask is None:
                mask = torch.ones(prime, shape.rows, device=device)
            state = nested_state({name: given[name] for name in sample})
            batch = Batch(given["x"], given["y"], mask, given["key"])
            with not_home_by_home(prime):
                moved, loss = over_homes(learning.step)(state, batch)
            return [*flat_state(moved).values(), loss]

        try:
            # This thread's copy of the module has to be there before anything is recorded.
            none = torch.zeros(shape.rows, shape.features, device=device)
            learning.predict(nested_state(sample).params, none)
            # Constants of the module are real tensors among fake ones.
            with without_torchs_warning(), FakeTensorMode(allow_non_fake_inputs=True):
                inputs = [stacked(prime, like) for like in sample.values()]
                inputs += sample_batch(learning, shape, prime, device).values()
                module = make_fx(functionalize(step, remove="mutations"))(*inputs)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise EngineError(
                f"the module's training step cannot be traced: {reason}",
                hint='set engine.kernel to "eager", or keep control flow free of tensor values',
            ) from error
        for node, name in zip(module.graph.nodes, names, strict=False):
            node.meta["natural"] = name == "key" or (name == "y" and learning.loss.labels)
        return Trace(
            graph=module.graph, module=module, inputs=names, states=len(sample), prime=prime
        )


def infer(node: fx.Node) -> Any:
    """Return the fake result of a node, from the fake values of what it reads."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
    some_input = next(iter(node.graph.nodes))
    assert callable(node.target)
    with some_input.meta["val"].fake_mode:
        return node.target(*args, **kwargs)


def empty_like_view(value: Any, strides: tuple[int, ...]) -> Any:
    """Return a fake tensor of the same shape and type in another layout."""
    with value.fake_mode:
        return torch.empty_strided(value.shape, strides, dtype=value.dtype, device=value.device)


def is_view(target: object) -> bool:
    """Say whether an operation returns a view of what it is given."""
    return isinstance(target, OpOverload) and target.is_view


def is_pointwise(target: object) -> bool:
    """Say whether each element of the result depends on the same place of the inputs only."""
    return isinstance(target, OpOverload) and torch.Tag.pointwise in target.tags


def tensors(value: Any) -> Iterator[Tensor]:
    """Return the tensors in an operation's result."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)


def _prime(sample: dict[str, Tensor], shape: BatchShape) -> int:
    sizes = {size for tensor in sample.values() for size in tensor.shape}
    sizes |= {tensor.numel() for tensor in sample.values()} | {shape.rows, shape.features}
    return next(p for p in _PRIMES if all(size % p for size in sizes))
