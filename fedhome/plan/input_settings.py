"""The inputs that a plan names: what each column is, so that every home takes the same for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from fedhome.plan.section import Section

MOST_WORDS = 64
"""Words of a column, at most: each becomes an input of its own."""

InputKind = Literal["number", "flag", "words"]
"""What a column holds: numbers, 0 and 1 alone, or words."""


class InputSpec(Section):
    """A column as all homes of a fleet take it."""

    name: str = Field(min_length=1, description="name of the column")
    kind: InputKind = Field("number", description="numbers, 0 and 1 alone, or words")
    unit: str = Field("", description="of its numbers; empty: none is known")
    words: tuple[str, ...] = Field(
        (), description="its words, in their order; each becomes an input of its own"
    )

    @model_serializer(mode="wrap")
    def _without_empty(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is empty: a plan is read by people."""
        return {name: value for name, value in serialise(self).items() if value not in ("", (), [])}


def input_faults(inputs: Sequence[InputSpec] | None, features: Sequence[str]) -> Iterator[str]:
    """Yield what of a plan's inputs does not fit together, one plain sentence each.

    Args:
        inputs: The plan's ``data.inputs``; None: not named yet.
        features: Its ``data.features``.
    """
    if inputs is None:
        return
    names = [spec.name for spec in inputs]
    if twice := _twice(names):
        yield f"data.inputs names {', '.join(map(repr, twice))} twice"
    for spec in inputs:
        if (spec.kind == "words") != bool(spec.words):
            what = "lists no words" if spec.kind == "words" else f"lists words of a {spec.kind}"
            yield f"data.inputs: {spec.name!r} {what}"
        if twice := _twice(spec.words):
            yield f"data.inputs: {spec.name!r} lists {len(twice)} of its words twice"
        if len(spec.words) > MOST_WORDS:
            yield (
                f"data.inputs: {spec.name!r} lists {len(spec.words)} words, and each would become "
                f"an input: at most {MOST_WORDS} can"
            )
        if spec.unit and spec.kind != "number":
            yield f"data.inputs: {spec.name!r} has a unit, but is no number"
    if features and names != list(features):
        yield (
            "data.features and data.inputs name other columns, or in another order: leave "
            "data.features out, or data.inputs to be found anew"
        )


def _twice(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
