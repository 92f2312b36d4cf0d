"""What is not recorded: a step that would be written out home by home, or one without end.

Both are told by operations, not by a clock: the same plan takes the same kernel on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from fedhome.errors import EngineError

MOST_OPERATIONS = 10_000
"""Operations of a step up to which it is recorded unasked: some ten seconds on a plain core."""


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Is shown every operation before it is computed."""

    def __init__(self, seen: Callable[[OpOverload, tuple[Any, ...]], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen = seen

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        self._seen(func, args)
        return func(*args, **(kwargs or {}))


def not_home_by_home(homes: int) -> TorchDispatchMode:
    """Return a mode in which nothing is computed for one home after the other.

    ``torch.func.vmap`` does that with an operation that has no batching rule. It takes the homes'
    slices one by one, and nothing else takes the second of so many.

    Args:
        homes: How many there are; a number that is no other size.

    Raises:
        EngineError: An operation is computed home by home; it is named.
    """
    alone = ""  # what was computed first since a slice of the first home was taken
    before = ""  # and before that: what writes in place has its slice taken once more

    def see(func: OpOverload, args: tuple[Any, ...]) -> None:
        nonlocal alone, before
        if func is not torch.ops.aten.select.int:
            computes = func.namespace == "aten" and not func.is_view
            alone = alone or (str(func.overloadpacket) if computes else "")
            return
        tensor, dim, index = args
        if tensor.shape[dim] != homes:
            return
        if index > 0:
            raise EngineError(
                f"torch has no form of {alone or before} for many homes at once; in "
                "products, sums and other plain operations it would train faster (docs/models.md)"
            )
        alone, before = "", alone or before

    return _Watch(see)


def operations_of(step: Callable[[], object]) -> int:
    """Return how many of torch's operations a step computes."""
    count = 0

    def see(_func: OpOverload, _args: tuple[Any, ...]) -> None:
        nonlocal count
        count += 1

    with _Watch(see):
        step()
    return count
