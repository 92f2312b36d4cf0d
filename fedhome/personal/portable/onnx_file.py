"""A home's own model as ONNX: scaling, experts, mixture and band in one graph, over many rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.scaling import FAR
from fedhome.errors import RunError
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Constant, Fitted, Line, Perceptron, Seasonal, Trees
from fedhome.personal.model import PersonalModel
from fedhome.personal.portable.chosen import whole
from fedhome.personal.portable.onnx_graph import IR, OPSET, TREE_OPSET, TREES, Graph, onnx_package
from fedhome.personal.portable.raw_inputs import inputs_of
from fedhome.personal.predictor import NETWORKS

_GROUP, _MATRIX = 8, 2
_DAY_S, _QUARTER_S = 86_400.0, 21_600.0
_LEAST = 1e-6
_ENCODED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "binary": ("Sigmoid", {}),
    "multi-class": ("Softmax", {"axis": 1}),
}


class _Rows:
    """What experts take, by its name in the graph."""

    def __init__(self, graph: Graph, x: str, series: Mapping[int, str], *, int8: bool) -> None:
        self.graph, self.x, self.series, self.int8 = graph, x, series, int8
        self.precise = graph.cast(x, np.float64)


def onnx_of(model: PersonalModel, *, int8: bool) -> bytes:
    """Return a model as the bytes of a file in ONNX, checked by ONNX's own rules.

    It takes ``inputs`` and gives ``outputs``, float64 ``[rows, each]``; its metadata name both, and
    say which experts it has.

    Args:
        model: The model; of :func:`~fedhome.personal.portable.chosen.in_int8` where ``int8``.
        int8: Whether its networks' weights take one byte each.

    Raises:
        EngineError: The package onnx is not installed.
        RunError: It has an expert of a kind that is not written.
    """
    onnx = onnx_package()
    graph = Graph(onnx)
    rows = _rows(graph, model, int8=int8)
    naive = _stated(rows, model.naive)
    total = ""
    for name, weight in model.weights.items():
        said = naive
        if name in model.experts:
            said = _stated(rows, model.experts[name])
            if name in NETWORKS and model.targets in _ENCODED:
                operator, attributes = _ENCODED[model.targets]
                said = graph.node(operator, said, **attributes)
        said = graph.cast(graph.cast(said, np.float32), np.float64)
        heard = graph.is_finite(graph.summed(said))
        part = graph.node("Where", heard, said, naive)
        part = graph.node("Mul", part, graph.constant(float(weight)))
        total = graph.node("Add", total, part) if total else part
    ended = (
        _numbers(graph, model, total)
        if isinstance(model.by, Reach)
        else _shares(graph, model, total)
    )
    graph.nodes.append(onnx.helper.make_node("Identity", [ended], ["outputs"]))
    return _file(graph, model)


def _rows(graph: Graph, model: PersonalModel, *, int8: bool) -> _Rows:
    inputs, scaling = inputs_of(model), model.scaling
    features = tuple(range(len(scaling.features)))
    plain = graph.column("inputs", *features)
    known = graph.is_finite(plain)
    last, x = _last(graph, model) if model.changes else "", plain
    if scaling.relative.any():
        x = graph.node("Where", graph.constant(scaling.relative), graph.node("Sub", x, last), x)
    x = graph.node("Where", graph.is_finite(x), x, graph.constant(scaling.medians))
    if scaling.bounded:
        x = graph.node("Sub", x, graph.constant(scaling.middle))
        x = graph.node("Div", x, graph.constant(scaling.spread))
        x = graph.node("Max", x, graph.constant(-FAR))
        x = graph.node("Min", x, graph.constant(FAR))
    columns = [graph.cast(x, np.float32)]
    series = {}
    for place, one in enumerate(inputs):
        if one.role == "indicator":
            present = graph.node("Equal", graph.column("inputs", place), graph.constant(0.0))
            whole_row = graph.node("And", present, graph.column(known, one.number))
            columns.append(graph.cast(graph.node("Not", whole_row), np.float32))
        elif one.role in ("last", "season"):
            value = graph.column("inputs", place)
            moved = graph.node("Sub", value, last) if last else value
            moved = graph.node("Sub", moved, graph.constant(model.level))
            moved = graph.node("Div", moved, graph.constant(model.unit))
            moved = graph.node("Where", graph.is_finite(value), moved, graph.constant(np.nan))
            series[one.number if one.role == "season" else 0] = moved
    if len(columns) > 1:
        columns = [graph.node("Concat", *columns, axis=1)]
    return _Rows(graph, columns[0], series, int8=int8)


def _last(graph: Graph, model: PersonalModel) -> str:
    """Return the newest reading of the target; NaN where there is none."""
    place = next(place for place, one in enumerate(inputs_of(model)) if one.role == "last")
    last = graph.column("inputs", place)
    return graph.node("Where", graph.is_finite(last), last, graph.constant(np.nan))


def _stated(rows: _Rows, expert: Fitted) -> str:
    body = _BODIES.get(type(expert))
    if body is None:
        raise RunError(
            f"an expert of the kind {type(expert).__name__!r} cannot be written as ONNX",
            hint="leave it out with --experts",
        )
    return body(rows, expert)


def _perceptron(rows: _Rows, expert: Perceptron) -> str:
    graph, here, layers = rows.graph, rows.x, expert.layers
    names = [one.removesuffix(".weight") for one in layers if one.endswith(".weight")]
    matrices = [one for one in names if layers[f"{one}.weight"].ndim == _MATRIX]
    for place, one in enumerate(names):
        weight, bias = layers[f"{one}.weight"], layers[f"{one}.bias"]
        if one in matrices:
            here = graph.node("Gemm", here, _weights(rows, weight), graph.constant(bias), transB=1)
        else:
            groups = len(weight) // _GROUP if expert.grouped and len(weight) % _GROUP == 0 else 1
            here = _normed(graph, here, groups, len(weight))
            here = graph.node("Mul", here, graph.constant(weight))
            here = graph.node("Add", here, graph.constant(bias))
        norm_next = place + 1 < len(names) and names[place + 1] not in matrices
        if one != matrices[-1] and not norm_next:
            here = graph.node("Relu", here)
    return graph.cast(here, np.float64)


def _weights(rows: _Rows, weight: NDArray[np.float32]) -> str:
    if not rows.int8:
        return rows.graph.constant(weight)
    made = whole(weight)
    zero = rows.graph.constant(np.zeros(len(weight), np.int8))
    values, scale = rows.graph.constant(made.values), rows.graph.constant(made.scale)
    return rows.graph.node("DequantizeLinear", values, scale, zero, axis=0)


def _normed(graph: Graph, x: str, groups: int, units: int) -> str:
    apart = x
    if groups > 1:
        shape = graph.constant(np.array([-1, groups, units // groups], np.int64))
        apart = graph.node("Reshape", x, shape)
    apart = graph.node("Sub", apart, graph.node("ReduceMean", apart, axes=[-1], keepdims=1))
    squares = graph.node("ReduceMean", graph.node("Mul", apart, apart), axes=[-1], keepdims=1)
    room = graph.constant(np.array(1e-5, np.float32))
    apart = graph.node("Div", apart, graph.node("Sqrt", graph.node("Add", squares, room)))
    if groups > 1:
        apart = graph.node("Reshape", apart, graph.constant(np.array([-1, units], np.int64)))
    return apart


def _line(rows: _Rows, expert: Line) -> str:
    graph = rows.graph
    values = graph.node("MatMul", rows.precise, graph.constant(expert.slopes))
    values = graph.node("Add", values, graph.constant(expert.levels))
    if len(expert.classes):
        values = graph.node("Softmax", values, axis=1)
        return _placed(graph, values, expert.classes, expert.outputs)
    low, high = (graph.constant(float(bound)) for bound in expert.within)
    values = graph.node("Min", graph.node("Max", values, low), high)
    return _repeated(graph, values, expert.outputs)


def _trees(rows: _Rows, expert: Trees) -> str:
    graph = rows.graph
    sizes = np.diff([*expert.roots.tolist(), len(expert.feature)])
    tree = np.repeat(np.arange(len(sizes)), sizes)
    node = np.arange(len(expert.feature)) - expert.roots[tree]
    leaf = expert.feature < 0
    columns = expert.value.shape[1]
    summed = graph.node(
        "TreeEnsembleRegressor",
        rows.x,
        domain=TREES,
        aggregate_function="SUM",
        post_transform="NONE",
        n_targets=columns,
        nodes_treeids=tree.tolist(),
        nodes_nodeids=node.tolist(),
        nodes_featureids=np.where(leaf, 0, expert.feature).tolist(),
        nodes_values=np.where(leaf, 0, expert.limit).tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_truenodeids=np.where(leaf, 0, expert.left - expert.roots[tree]).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, expert.right - expert.roots[tree]).tolist(),
        nodes_missing_value_tracks_true=[0] * len(node),
        target_treeids=np.repeat(tree[leaf], columns).tolist(),
        target_nodeids=np.repeat(node[leaf], columns).tolist(),
        target_ids=np.tile(np.arange(columns), int(leaf.sum())).tolist(),
        target_weights=expert.value[leaf].reshape(-1).tolist(),
    )
    values = graph.node("Div", graph.cast(summed, np.float64), graph.constant(expert.divisor))
    values = graph.node("Add", values, graph.constant(float(expert.base)))
    if len(expert.classes):
        return _placed(graph, values, expert.classes, expert.outputs)
    return _repeated(graph, values, expert.outputs)


def _placed(graph: Graph, shares: str, classes: NDArray[np.int64], outputs: int) -> str:
    places = np.zeros((len(classes), max(outputs, 2)))
    places[np.arange(len(classes)), classes] = 1
    return graph.node("MatMul", shares, graph.constant(places if outputs > 1 else places[:, 1:]))


def _repeated(graph: Graph, values: str, outputs: int) -> str:
    return values if outputs == 1 else graph.node("Concat", *[values] * outputs, axis=1)


def _constant(rows: _Rows, expert: Constant) -> str:
    graph = rows.graph
    one = graph.column(rows.precise, 0)
    nothing = graph.node("Sub", one, one)  # 0 in each row: inputs are finite
    return graph.node("Add", nothing, graph.constant(expert.values[None]))


def _seasonal(rows: _Rows, expert: Seasonal) -> str:
    graph, last = rows.graph, rows.series[0]
    if not expert.season:
        return _repeated(graph, last, expert.outputs)
    before = rows.series[expert.season]
    said = graph.node("Where", graph.is_finite(before), before, last)
    return _repeated(graph, said, expert.outputs)


_BODIES: Mapping[type, Callable[[_Rows, Any], str]] = {
    Constant: _constant,
    Line: _line,
    Perceptron: _perceptron,
    Seasonal: _seasonal,
    Trees: _trees,
}


def _numbers(graph: Graph, model: PersonalModel, mixed: str) -> str:
    assert isinstance(model.by, Reach)
    columns = [mixed]
    moment = next((n for n, one in enumerate(inputs_of(model)) if one.role == "moment"), None)
    for side in model.by:
        reach = graph.constant(float(side[0]))
        if moment is not None:
            at = graph.column("inputs", moment)
            known = graph.node("Where", graph.is_finite(at), at, graph.constant(0.0))
            day = graph.constant(_DAY_S)
            days = graph.node("Floor", graph.node("Div", known, day))
            second = graph.node("Sub", known, graph.node("Mul", days, day))
            quarter = graph.node("Floor", graph.node("Div", second, graph.constant(_QUARTER_S)))
            reach = graph.node("Gather", graph.constant(side), graph.cast(quarter, np.int64))
            reach = graph.node("Add", reach, graph.node("Sub", at, at))  # NaN if there is none
        columns.append(graph.node("Add", mixed, reach))
    told = graph.node("Concat", *columns, axis=1)
    told = graph.node("Mul", told, graph.constant(model.unit))
    told = graph.node("Add", told, graph.constant(model.level))
    return graph.node("Add", told, _last(graph, model)) if model.changes else told


def _shares(graph: Graph, model: PersonalModel, mixed: str) -> str:
    assert not isinstance(model.by, Reach)
    shares = mixed
    if model.targets == "binary":
        other = graph.node("Sub", graph.constant(1.0), mixed)
        shares = graph.node("Concat", other, mixed, axis=1)
    shares = graph.node("Max", shares, graph.constant(_LEAST))
    shares = graph.node("Pow", shares, graph.constant(1.0 / model.by))
    return graph.node("Div", shares, graph.summed(shares))


def _file(graph: Graph, model: PersonalModel) -> bytes:
    onnx = graph.onnx
    outputs = model.predictor.outputs
    double = onnx.TensorProto.DOUBLE

    def port(name: str, names: Sequence[object]) -> Any:
        return onnx.helper.make_tensor_value_info(name, double, ["rows", len(names)])

    inputs = inputs_of(model)
    made = onnx.helper.make_graph(
        graph.nodes,
        "home",
        [port("inputs", inputs)],
        [port("outputs", outputs)],
        initializer=graph.constants,
    )
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(TREES, TREE_OPSET)]
    file = onnx.helper.make_model(
        made, opset_imports=opsets, ir_version=IR, producer_name="fedhome"
    )
    about = {
        "home": model.home,
        "target": model.target,
        "unit": model.target_unit,
        **({} if model.ahead is None else {"horizon": str(model.ahead)}),
        "run": model.run,
        "experts": json.dumps(dict(model.weights)),
        "inputs": json.dumps([one._asdict() for one in inputs], ensure_ascii=False),
        "outputs": json.dumps(outputs, ensure_ascii=False),
    }
    onnx.helper.set_model_props(file, about)
    onnx.checker.check_model(file, full_check=True)
    data: bytes = file.SerializeToString(deterministic=True)
    return data
