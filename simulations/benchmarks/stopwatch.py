"""Processor time by what it was spent on, over all threads."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple


class TimedFunction(NamedTuple):
    """A function to be timed: under which label, where it lies, its name there."""

    label: str
    owner: Any
    name: str


class Stopwatch:
    """Adds up processor seconds by label; what a function calls that is timed too is not its own.

    Attributes:
        cpu_s: Processor seconds by label.
    """

    def __init__(self) -> None:
        self.cpu_s: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._inner = threading.local()  # seconds of timed calls within the one at work

    def timed(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed under a label."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            outer = getattr(self._inner, "s", 0.0)
            self._inner.s = 0.0
            begin = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time() - begin
                with self._lock:
                    self.cpu_s[label] += spent - self._inner.s
                self._inner.s = outer + spent

        return call

    def reset(self) -> None:
        """Forget what was spent so far."""
        with self._lock:
            self.cpu_s.clear()


@contextmanager
def timing(watch: Stopwatch, functions: Sequence[TimedFunction]) -> Iterator[None]:
    """Time functions where they lie, and put them back afterwards.

    Args:
        watch: What adds up.
        functions: The functions to time.
    """
    before = [vars(timed_function.owner)[timed_function.name] for timed_function in functions]
    try:
        for timed_function, function in zip(functions, before, strict=True):
            setattr(
                timed_function.owner,
                timed_function.name,
                watch.timed(timed_function.label, function),
            )
        yield
    finally:
        for timed_function, function in zip(functions, before, strict=True):
            setattr(timed_function.owner, timed_function.name, function)
