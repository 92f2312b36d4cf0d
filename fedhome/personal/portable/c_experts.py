"""Each kind of expert as constant arrays in C, and the lines that compute what it states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.errors import RunError
from fedhome.learning.fitted import Constant, Fitted, Line, Perceptron, Seasonal, Trees
from fedhome.personal.portable.chosen import whole
from fedhome.personal.portable.preorder import in_preorder
from fedhome.personal.portable.text import numbers

_BLOCKS = (32, 8, 1)  # units that are computed side by side
_MATRIX = 2
_GROUP = 8
_BYTES = {"float": 4, "double": 8, "signed char": 1, "int": 4}


@dataclass
class CParts:
    """What a file in C is put together from.

    Args:
        targets: How targets are encoded.
        int8: Whether networks' weights take one byte.
    """

    targets: Targets
    int8: bool
    arrays: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    helpers: set[str] = field(default_factory=set)
    types: dict[str, str] = field(default_factory=dict)
    size: int = 0
    widest: int = 1

    def array(self, name: str, kind: str, values: Iterable[Any], *, width: int = 0) -> str:
        """Add a constant array, and return its name.

        Args:
            name: Its name, without the prefix.
            kind: Its type in C, or a name of :attr:`types`.
            values: Its numbers.
            width: Bytes of one; 0: as the type says.
        """
        flat = np.asarray(values).reshape(-1)
        self.size += len(flat) * (width or _BYTES[kind])
        self.arrays.append(
            f"static const {kind} @_{name}[{len(flat)}] = {{\n{numbers(flat, kind)}}};\n"
        )
        return f"@_{name}"


def expert_in_c(parts: CParts, name: str, expert: Fitted, *, raw: bool) -> None:
    """Add a function that computes what an expert states.

    Args:
        parts: What the file has so far.
        name: Name of the function, without the prefix.
        expert: The expert.
        raw: Whether its outputs are raw, and are statements once encoded.

    Raises:
        RunError: There is no such kind in C.
    """
    body = _BODIES.get(type(expert))
    if body is None:
        raise RunError(
            f"an expert of the kind {type(expert).__name__!r} cannot be written as C",
            hint="leave it out with --experts",
        )
    lines = [*body(parts, name, expert)]
    if raw and parts.targets == "binary":
        lines.append("stated[0] = 1.0 / (1.0 + (double)expf((float)-stated[0]));")
    if raw and parts.targets == "multi-class":
        parts.helpers.add("shares")
        lines.append("@_shares(stated, @@_STATED);")
    text = "\n".join(f"    {line}" for line in lines)
    head = f"static void @_{name}(const float *x, const double *series, double *stated)"
    parts.functions.append(f"{head}\n{{\n{text}\n}}\n")


def _perceptron(parts: CParts, name: str, expert: Perceptron) -> Iterator[str]:
    layers = expert.layers
    names = [one.removesuffix(".weight") for one in layers if one.endswith(".weight")]
    matrices = [one for one in names if layers[f"{one}.weight"].ndim == _MATRIX]
    widest = max(len(layers[f"{one}.weight"]) for one in matrices)
    parts.widest = max(parts.widest, widest)
    yield f"float even[{widest}]{f', odd[{widest}]' if len(matrices) > 1 else ''};"
    yield "int one;"
    yield "(void)series;"
    here, there = "x", "even"
    for place, one in enumerate(names):
        weight, bias = layers[f"{one}.weight"], layers[f"{one}.bias"]
        units = len(weight)
        if weight.ndim == _MATRIX:
            yield from _dense(parts, f"{name}_{place}", _Layer(weight, bias), (here, there))
            here, there = there, "odd" if there == "even" else "even"
        else:
            parts.helpers.add("norm")
            groups = units // _GROUP if expert.grouped and units % _GROUP == 0 else 1
            own = parts.array(f"{name}_{place}_weight", "float", weight)
            level = parts.array(f"{name}_{place}_bias", "float", bias)
            yield f"@_norm({own}, {level}, {units}, {groups}, {here});"
        norm_next = place + 1 < len(names) and names[place + 1] not in matrices
        if one != matrices[-1] and not norm_next:
            parts.helpers.add("relu")
            yield f"@_relu({here}, {units});"
    yield "for (one = 0; one < @@_STATED; one++)"
    yield f"    stated[one] = (double){here}[one];"


class _Layer(NamedTuple):
    weight: NDArray[np.float32]  # [units, inputs]
    bias: NDArray[np.float32]  # [units]


def _dense(
    parts: CParts,
    name: str,
    layer: _Layer,
    way: tuple[str, str],
) -> Iterator[str]:
    (weight, bias), (here, there) = layer, way
    units, inputs = weight.shape
    made = whole(weight) if parts.int8 else None
    values: NDArray[Any] = weight if made is None else made.values
    blocks, pieces, begin = [], [], 0
    for wide in _BLOCKS:
        while units - begin >= wide:
            blocks.append((begin, wide))
            pieces.append(values[begin : begin + wide].T.reshape(-1))
            begin += wide
    kind = "float" if made is None else "signed char"
    weights = parts.array(f"{name}_weight", kind, np.concatenate(pieces))
    scale = "0" if made is None else parts.array(f"{name}_scale", "float", made.scale)
    level = parts.array(f"{name}_bias", "float", bias)
    suffix = "f32" if made is None else "i8"
    for begin, wide in blocks:
        parts.helpers.add(f"dense{wide}")
        yield (
            f"@_dense{wide}_{suffix}({weights} + {begin * inputs}, "
            f"{scale if made is None else f'{scale} + {begin}'}, {level} + {begin}, {here}, "
            f"{inputs}, {there} + {begin});"
        )


def _line(parts: CParts, name: str, expert: Line) -> Iterator[str]:
    parts.helpers.add("line")
    slopes = parts.array(f"{name}_slopes", "double", expert.slopes)
    levels = parts.array(f"{name}_levels", "double", expert.levels)
    columns = expert.slopes.shape[1]
    yield f"double values[{columns}];"
    yield from _numbers_first(expert.classes)
    yield "(void)series;"
    yield f"@_line({slopes}, {levels}, x, {columns}, values);"
    if not len(expert.classes):
        low, high = (repr(float(bound)) for bound in expert.within)
        yield f"values[0] = values[0] < {low} ? {low} : values[0];"
        yield f"values[0] = values[0] > {high} ? {high} : values[0];"
    else:
        parts.helpers.add("shares")
        yield f"@_shares(values, {columns});"
    yield from _stated(parts, name, expert.classes)


def _trees(parts: CParts, name: str, expert: Trees) -> Iterator[str]:
    parts.helpers.add("trees")
    ordered = in_preorder(expert)
    columns = expert.value.shape[1]
    parts.types["@_input"] = "short"
    wide = (
        parts.types.get("@_node") == "unsigned long"
        or len(ordered.feature) > np.iinfo(np.uint16).max
    )
    parts.types["@_node"] = "unsigned long" if wide else "unsigned short"
    node = 4 if wide else 2
    feature = parts.array(f"{name}_input", "@_input", ordered.feature, width=2)
    split = parts.array(f"{name}_split", "float", ordered.split)
    right = parts.array(f"{name}_right", "@_node", ordered.right, width=node)
    roots = parts.array(f"{name}_roots", "@_node", ordered.roots, width=node)
    leaves = "0"
    if columns > 1:
        leaves = parts.array(f"{name}_leaves", "float", ordered.leaves)
    yield f"double values[{columns}];"
    yield "int one;"
    yield "(void)series;"
    yield (
        f"@_trees({feature}, {split}, {right}, {leaves}, {roots}, {len(ordered.roots)}, "
        f"{columns}, x, values);"
    )
    yield f"for (one = 0; one < {columns}; one++)"
    yield f"    values[one] = values[one] / {expert.divisor!r} + {expert.base!r};"
    yield from _stated(parts, name, expert.classes)


def _numbers_first(classes: NDArray[np.int64]) -> Iterator[str]:
    if not len(classes):
        yield "int one;"


def _stated(parts: CParts, name: str, classes: NDArray[np.int64]) -> Iterator[str]:
    if len(classes):
        parts.helpers.add("placed")
        seen = parts.array(f"{name}_classes", "int", classes)
        yield f"@_placed(values, {seen}, {len(classes)}, stated);"
    else:
        yield "for (one = 0; one < @@_STATED; one++)"
        yield "    stated[one] = values[0];"


def _constant(parts: CParts, name: str, expert: Constant) -> Iterator[str]:
    values = parts.array(f"{name}_values", "double", expert.values)
    yield "int one;"
    yield "(void)x;"
    yield "(void)series;"
    yield "for (one = 0; one < @@_STATED; one++)"
    yield f"    stated[one] = {values}[one];"


def _seasonal(parts: CParts, name: str, expert: Seasonal) -> Iterator[str]:
    del parts, name
    season = expert.season
    yield "int one;"
    yield "(void)x;"
    yield "for (one = 0; one < @@_STATED; one++)"
    yield f"    stated[one] = @_finite(series[{season}]) ? series[{season}] : series[0];"


_BODIES: Mapping[type, Callable[[CParts, str, Any], Iterator[str]]] = {
    Constant: _constant,
    Line: _line,
    Perceptron: _perceptron,
    Seasonal: _seasonal,
    Trees: _trees,
}
