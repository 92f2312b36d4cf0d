"""What homes do in a round by their method, over a cohort; and what of it never leaves them.

Parameters that a method calls private stay at home. What leaves is as long as the model, so that
every strategy, sum and release is as with any other method; but at the private places it holds the
numbers that the server sent, whatever the home has learnt there.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import EngineError, PlanError, PluginError
from fedhome.learning.cohort import Cohort, Trained, Training
from fedhome.learning.methods import Method
from fedhome.learning.own_state import OwnState
from fedhome.own_code import kind_told
from fedhome.wire.layout import Layout

Stacked = NDArray[np.float32]
"""Numbers of homes side by side, float32 ``[homes, numbers]``."""

_PHASE = 1 << 44  # streams of batches, apart from the rounds' and those of personalisation
_PRIVATE = "parameters"  # the private parameters, beside a method's own arrays
_log = logging.getLogger("fedhome.learning")


@dataclass(frozen=True, kw_only=True)
class HomeRound:
    """One round of some homes, as a method sees it.

    Args:
        cohort: The homes.
        shared: The parameters that the server sent, float32 ``[size]``.
        start: The same with each home's own at the private places, ``[homes, size]``.
        own: What the method keeps besides, by name.
        number: Number of the round.
        epochs: Passes of the plan.
        steps: Steps in place of passes; 0: none.
        rate: Multiple of the plan's learning rate.
    """

    cohort: Cohort
    shared: NDArray[np.float32]
    start: Stacked
    own: Mapping[str, Stacked]
    number: int
    epochs: int
    steps: int
    rate: float = 1.0

    def train(
        self,
        params: Stacked,
        *,
        phase: int = 0,
        epochs: int | None = None,
        method: Method | None = None,
        towards: NDArray[np.float32] | None = None,
    ) -> Trained:
        """Train every home on its training rows, with an empty optimiser at the start.

        Args:
            params: Where each begins, ``[homes, size]``.
            phase: Names the order of batches; another one for each training in a round.
            epochs: Passes; None: the plan's passes or steps.
            method: How a step goes; None: as the plan's method has it.
            towards: What ``start`` is in the method's gradient, ``[size]`` or ``[homes, size]``;
                None: ``params``.
        """
        return self.cohort.train(
            params,
            Training(
                stream=self.number + phase * _PHASE,
                epochs=self.epochs if epochs is None else epochs,
                steps=self.steps if epochs is None else 0,
                rate=self.rate,
                method=method,
                towards=towards,
            ),
        )


@dataclass(frozen=True)
class RoundEnd:
    """What homes have after a round.

    Args:
        trained: Parameters ``[homes, size]`` and losses: the private ones stay, the others leave.
        own: What the method keeps besides, by name.
    """

    trained: Trained
    own: Mapping[str, Stacked]


def is_plain(method: Method, layout: Layout) -> bool:
    """Whether a method is one training in a round of which all is shared and nothing kept."""
    return not private_places(method, layout).any() and not _keeps_more(method)


def check_sliced(method: Method, layout: Layout) -> None:
    """Refuse a method that slices of a model are not trained by.

    Raises:
        PlanError: It keeps something in each home, or trains more than once in a round.
    """
    if not is_plain(method, layout):
        fault = (
            f"slicing.tiers are set, but the method {type(method).__name__} keeps something in "
            "each home, or trains more than once in a round: slices do not go with that yet"
        )
        raise PlanError(
            [fault],
            hint="methods that change the gradient alone do: fedavg and fedprox",
        )


def keeps(method: Method, layout: Layout) -> bool:
    """Whether a method keeps anything in a home between rounds."""
    return bool(private_places(method, layout).any()) or _first_is_own(method)


@lru_cache(maxsize=64)
def private_places(method: Method, layout: Layout) -> NDArray[np.bool_]:
    """Return which numbers of a model stay at home, bool ``[size]``.

    Raises:
        PluginError: The method names parameters that the model does not have, or all of them.
    """
    named: object = method.private(layout.names)
    if isinstance(named, str) or not isinstance(named, Iterable):
        raise PluginError(
            f"{type(method).__name__}.private returned {kind_told(named)}, not names of parameters",
            hint="return a list of some of the names that it is given; () for none",
        )
    named = list(named)
    known = ", ".join(layout.names)
    if unknown := sorted(set(named) - set(layout.names)):
        raise PluginError(
            f"the method {type(method).__name__} keeps {', '.join(unknown)} at home, which the "
            "model does not have",
            hint=f"its parameters are {known}",
        )
    if set(named) == set(layout.names):
        raise PluginError(
            f"the method {type(method).__name__} keeps all parameters of this model at home: "
            "nothing is left to learn together",
            hint=f"keep fewer layers at home; the parameters are {known}",
        )
    each = zip(layout.names, layout.sizes, strict=True)
    places = np.concatenate([np.full(size, name in named) for name, size in each])
    places.setflags(write=False)
    return places


def train_round(
    cohort: Cohort,
    start: NDArray[np.float32],
    *,
    number: int,
    epochs: int,
    steps: int,
    method: Method,
    rate: float = 1.0,
) -> Trained:
    """Let homes do what their method does in a round, and keep what stays at home.

    Args:
        cohort: The homes.
        start: The parameters that came, float32 ``[size]``.
        number: Number of the round.
        epochs: Passes of the plan.
        steps: Steps in place of passes; 0: none.
        method: The method.
        rate: Multiple of the plan's learning rate.

    Returns:
        What leaves, ``[homes, size]``: at private places it is what came.

    Raises:
        EngineError: The method keeps something, and there is nowhere to keep it.
    """
    layout = cohort.learning.layout
    if is_plain(method, layout):
        return cohort.train(
            start, Training(stream=number, epochs=epochs, steps=steps, method=method, rate=rate)
        )
    asked = hashlib.sha256(b"%d\0" % number + start.tobytes()).digest()
    before, held = _held(cohort, start, method, asked=asked)
    places = private_places(method, layout)
    end: object = method.round(
        HomeRound(
            cohort=cohort,
            shared=start,
            start=_composed(start, held, places, len(cohort.homes)),
            own={name: values for name, values in held.items() if name != _PRIVATE},
            number=number,
            epochs=epochs,
            steps=steps,
            rate=rate,
        )
    )
    if not isinstance(end, RoundEnd):
        raise PluginError(
            f"{type(method).__name__}.round returned {kind_told(end)}, not a RoundEnd",
            hint="return RoundEnd(home_round.train(...), own): docs/methods.md",
        )
    if keeps(method, layout):
        now = {**end.own, **({_PRIVATE: end.trained.params[:, places]} if places.any() else {})}
        _keep(cohort, end.trained, now, before, of=_digest(method, layout), asked=asked)
    leaving = end.trained.params.copy()
    leaving[:, places] = start[places]
    return Trained(leaving, end.trained.losses)


def as_used(cohort: Cohort, start: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the fleet's model as homes use it: with their own parameters at private places.

    Args:
        cohort: The homes; their plan's method is that of their learning.
        start: The parameters that came, float32 ``[size]``.

    Returns:
        float32 ``[size]`` where nothing is private, else ``[homes, size]``.
    """
    method, layout = cohort.learning.method, cohort.learning.layout
    places = private_places(method, layout)
    if not places.any():
        return start
    held = _held(cohort, start, method)[1]
    composed = _composed(start, held, places, len(cohort.homes))
    return _like(composed, method.settle(cohort, composed), method, "settle")


def ends_with(cohort: Cohort, start: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the parameters that homes have by their method, and personalise from.

    Arguments and result are as of `as_used`.
    """
    method, layout = cohort.learning.method, cohort.learning.layout
    if not keeps(method, layout):
        return start
    held = _held(cohort, start, method)[1]
    own = {name: values for name, values in held.items() if name != _PRIVATE}
    composed = _composed(start, held, private_places(method, layout), len(cohort.homes))
    settled = _like(composed, method.settle(cohort, composed), method, "settle")
    return _like(composed, method.ends(settled, own), method, "ends")


def _like(params: Stacked, found: object, method: Method, of: str) -> Stacked:
    """Return what a method made of homes' parameters, if it is of their shape."""
    if (
        isinstance(found, np.ndarray)
        and found.shape[:1] == params.shape[:1]
        and found.ndim == params.ndim
    ):
        return found
    kind = f"{list(found.shape)}" if isinstance(found, np.ndarray) else kind_told(found)
    raise PluginError(
        f"{type(method).__name__}.{of} returned {kind}, not parameters [homes, numbers]",
        hint="return a NumPy array with a row for each of the homes that it is given",
    )


def _keeps_more(method: Method) -> bool:
    return type(method).round is not Method.round or _first_is_own(method)


def _first_is_own(method: Method) -> bool:
    return type(method).first is not Method.first


def _composed(
    start: NDArray[np.float32], held: Mapping[str, Stacked], places: NDArray[np.bool_], homes: int
) -> Stacked:
    params = np.repeat(start[None], homes, axis=0)
    if _PRIVATE in held:
        params[:, places] = held[_PRIVATE]
    return params


def _digest(method: Method, layout: Layout) -> bytes:
    kind = type(method)
    text = f"{kind.__qualname__}\0{layout.hash}\0{sorted(method.private(layout.names))}"
    return hashlib.sha256(text.encode()).digest()


def _held(
    cohort: Cohort, start: NDArray[np.float32], method: Method, *, asked: bytes = b""
) -> tuple[list[Mapping[str, NDArray[np.float32]]], dict[str, Stacked]]:
    """Return what homes answer a question from: one by one, and side by side."""
    layout = cohort.learning.layout
    places, of = private_places(method, layout), _digest(method, layout)
    first = {name: np.asarray(v, np.float32) for name, v in method.first(start).items()}
    if _PRIVATE in first:
        raise PluginError(
            f"the method {type(method).__name__} calls an array {_PRIVATE!r}, which is the name "
            "of private parameters",
            hint="give it another name",
        )
    if places.any():
        first[_PRIVATE] = start[places]
    each: list[Mapping[str, NDArray[np.float32]]] = []
    for home in cohort.homes:
        state = None if cohort.states is None else cohort.states.read(home)
        if state is not None and (
            state.of != of or {n: v.shape for n, v in state.arrays.items()} != _shapes(first)
        ):
            _log.warning(
                "what home %s kept belongs to another method or model; it begins anew", home
            )
            state = None
        if state is not None:
            found = state.before if state.asked == asked else state.arrays
            each.append(found or first)
        else:
            each.append(first)
    return each, {name: np.stack([one[name] for one in each]) for name in first}


def _shapes(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, tuple[int, ...]]:
    return {name: values.shape for name, values in arrays.items()}


def _keep(
    cohort: Cohort,
    trained: Trained,
    now: Mapping[str, Stacked],
    before: list[Mapping[str, NDArray[np.float32]]],
    *,
    of: bytes,
    asked: bytes,
) -> None:
    """Keep what homes have now; one whose numbers are not finite keeps what it had."""
    if cohort.states is None:
        raise EngineError(
            "the method keeps numbers at home, and here is nowhere to keep them",
            hint="give the cohort `states`, such as fedhome.learning.own_state.StatesInMemory",
        )
    fine = np.isfinite(trained.losses) & np.isfinite(trained.params).all(axis=1)
    for values in now.values():
        fine &= np.isfinite(values).all(axis=1)
    cohort.forget_model()
    for place in np.flatnonzero(fine).tolist():
        own = {name: np.array(values[place], np.float32) for name, values in now.items()}
        cohort.states.write(
            cohort.homes[place], OwnState(of=of, asked=asked, arrays=own, before=before[place])
        )
