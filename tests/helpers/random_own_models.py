"""Homes' own models with random numbers, of every kind of expert, and their exports run as C."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.data.series.local_time import CALENDAR, OF_THE_WEEK
from fedhome.data.series.scaling import SILENT, InputScaling
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Constant, Fitted, Line, Perceptron, Seasonal, Trees
from fedhome.learning.fitted.trees import OneTree
from fedhome.learning.tasks.segments import Floats
from fedhome.models import mlp
from fedhome.personal.model import PersonalModel
from fedhome.personal.portable.text import identifier
from fedhome.plan.settings import Plan

COMPILER = shutil.which("cc")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow", "-Wconversion")
TRAPPED = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
"""A program that does what C leaves undefined is stopped, without a library for it."""
WORDS = ("asleep", "cooking", "out")
KINDS: dict[Targets, str] = {
    "continuous": "regression",
    "binary": "binary",
    "multi-class": "multi-class",
}


class Shape(NamedTuple):
    """What a random model is like.

    ``targets`` says how targets are encoded; ``hidden`` and ``norm`` what its networks are;
    ``experts`` are names of :func:`own_model`; ``indicators`` says whether missing inputs are told
    (its days of the week say nothing),
    ``season`` which season the forecast without learning has (0: the last reading), ``quarters``
    whether the band depends on the time of day, ``bounded`` whether inputs are scaled, and
    ``changes`` whether numbers are stated as changes from the newest reading.
    """

    targets: Targets = "continuous"
    hidden: tuple[int, ...] = (8,)
    norm: str = "none"
    experts: tuple[str, ...] = ("tuned",)
    indicators: bool = False
    season: int = 0
    quarters: bool = False
    bounded: bool = True
    changes: bool = False


FEATURES = ("outdoor", "mood is calm", "load 1 before", *CALENDAR)
UNITS: dict[str, Any] = {"name": "outdoor", "unit": "°C"}


def own_model(shape: Shape, seed: int, home: str = "oak") -> PersonalModel:
    """Return a model whose numbers are drawn.

    Args:
        shape: What it is like; of its experts "tuned" and "global" are networks, "ridge" a line,
            "trees" boosted ones or, of classes, a forest, "constant", "daily", "weekly" and
            "yearly" what they are called, and "lost" one that was not finite.
        seed: The draw.
        home: Name of the home.
    """
    draw = np.random.default_rng(seed)
    continuous = shape.targets == "continuous"
    changes = shape.changes and continuous
    data = {
        "target": "load",
        "inputs": [UNITS, {"name": "mood", "kind": "words", "words": ["calm", "loud"]}],
        "indicators": ["outdoor", "load 1 before"] if shape.indicators else [],
        **({"target_unit": "kWh"} if continuous else {}),
        **({} if continuous else {"horizon": 0, "lags": []}),
    }
    task: dict[str, Any] = {"kind": KINDS[shape.targets]}
    if not continuous:
        task["classes"] = list(WORDS if shape.targets == "multi-class" else WORDS[:2])
    wide = 2 if shape.indicators else 0
    outputs = len(WORDS) if shape.targets == "multi-class" else 1
    kit = _Kit(draw, shape, len(FEATURES) + wide, outputs)
    experts = {name: made for name in shape.experts if (made := kit.expert(name)) is not None}
    timed = np.zeros(len(CALENDAR))
    told = [SILENT if shape.indicators and n in OF_THE_WEEK else 0.7 for n in CALENDAR]
    weights = draw.dirichlet(np.ones(len(shape.experts)))
    whole = draw.normal(size=4) if shape.quarters else np.full(4, draw.normal())
    return PersonalModel(
        home=home,
        plan=Plan.load(name="tiny", data=data, task=task, model={"hidden": list(shape.hidden)}),
        targets=shape.targets,
        scaling=InputScaling(
            features=FEATURES,
            medians=np.array([9.5, 0.0, 0.4, *timed]),
            middle=np.array([8.0, 0.0, 0.5, *timed]) * shape.bounded,
            spread=np.array([4.0, 1.0, 0.3, *told]) ** shape.bounded,
            bounded=shape.bounded,
            relative=np.array([name == "load 1 before" and changes for name in FEATURES]),
        ),
        changes=changes,
        unit=0.3 if continuous else 1.0,
        level=0.5 if continuous else 0.0,
        weights=dict(zip(shape.experts, weights.tolist(), strict=True)),
        experts=experts,
        naive=Seasonal(shape.season) if continuous else Constant(kit.shares()),
        by=Reach(whole - 1.0, whole + 1.0) if continuous else float(draw.uniform(0.4, 2.0)),
        time_zone="UTC",
        rows=100,
        run="run 1 of tiny",
    )


class _Kit:
    def __init__(
        self, draw: np.random.Generator, shape: Shape, features: int, outputs: int
    ) -> None:
        self.draw, self.shape, self.features, self.outputs = draw, shape, features, outputs

    def shares(self) -> Floats:
        """Return a statement of classes."""
        drawn = self.draw.dirichlet(np.ones(max(self.outputs, 2)))
        return np.asarray(drawn if self.outputs > 1 else drawn[1:], np.float64)

    def expert(self, name: str) -> Fitted | None:
        """Return one of a name; None for one that was not finite."""
        number = self.shape.targets == "continuous"
        makers: dict[str, Callable[[], Fitted | None]] = {
            "tuned": lambda: network(self.draw, self.shape, self.features, self.outputs),
            "global": lambda: network(self.draw, self.shape, self.features, self.outputs),
            "ridge": lambda: self._line(number=number),
            "trees": lambda: self._trees(number=number),
            "constant": lambda: Constant(self.draw.normal(size=1) if number else self.shares()),
            "daily": lambda: Seasonal(1),
            "weekly": lambda: Seasonal(2),
            "yearly": lambda: Seasonal(3),
            "lost": lambda: None,
        }
        return makers[name]()

    def _line(self, *, number: bool) -> Line:
        classes = [] if number else [2, 0] if self.outputs > 1 else [0, 1]
        columns = max(len(classes), 1)
        slopes = self.draw.normal(size=(self.features, columns))
        levels, within = self.draw.normal(size=columns), np.array([-1.5, 1.5])
        return Line(slopes, levels, within, np.array(classes, np.int64), self.outputs)

    def _trees(self, *, number: bool) -> Trees:
        classes = [] if number else [0, 2] if self.outputs > 1 else [1, 0]
        trees = [self._tree(max(len(classes), 1), shares=not number) for _ in range(7)]
        base = 0.25 if number else 0.0
        return Trees.grown(trees, base=base, mean=not number, classes=classes, outputs=self.outputs)

    def _tree(self, columns: int, *, shares: bool) -> OneTree:
        inner = int(self.draw.integers(0, 6))
        nodes = 2 * inner + 1
        feature, left, right = np.full(nodes, -1), np.full(nodes, -1), np.full(nodes, -1)
        leaves, used = [0], 1
        for _ in range(inner):  # a leaf becomes a node with two leaves, which come later
            node = leaves.pop(int(self.draw.integers(len(leaves))))
            feature[node] = self.draw.integers(self.features)
            left[node], right[node] = used + 1, used
            leaves += [used, used + 1]
            used += 2
        value = self.draw.normal(size=(nodes, columns))
        if shares:
            value = self.draw.dirichlet(np.ones(columns), nodes)
        return OneTree(feature, self.draw.normal(size=nodes), left, right, value)


def torch_network(shape: Shape, features: int, outputs: int) -> torch.nn.Sequential:
    """Return the network of a shape as torch builds it."""
    return mlp(features, outputs, hidden=shape.hidden, norm=shape.norm)


def network(draw: np.random.Generator, shape: Shape, features: int, outputs: int) -> Perceptron:
    """Return a network with numbers that are drawn, those of norms about 1."""
    layers: dict[str, NDArray[np.float32]] = {}
    for name, values in torch_network(shape, features, outputs).state_dict().items():
        drawn = draw.normal(size=tuple(values.shape))
        if values.ndim > 1:
            drawn /= np.sqrt(values.shape[1])
        elif name.endswith("weight"):
            drawn = 1.0 + 0.3 * drawn
        layers[name] = drawn.astype(np.float32)
    return Perceptron(layers, grouped=shape.norm == "group")


class Compiled:
    """Exports in C, compiled into one library.

    Args:
        folder: Where files go.
        files: Text of each, by the name of its home.
        flags: Further ones for the compiler.
    """

    def __init__(self, folder: Path, files: dict[str, bytes], flags: Sequence[str] = ()) -> None:
        assert COMPILER is not None
        sources = []
        for home, text in files.items():
            sources.append(folder / f"{identifier(home)}.c")
            sources[-1].write_bytes(text)
        library = folder / "homes.so"
        words = [COMPILER, *STRICT, "-O1", *flags, "-fPIC", "-shared", *sources, "-o", library]
        done = subprocess.run([*words, "-lm"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self._library = ctypes.CDLL(str(library))

    def predict(self, home: str, raw: Floats, outputs: int) -> Floats:
        """Return what the function of a home gives, ``[rows, outputs]``."""
        function = getattr(self._library, f"{identifier(home)}_predict")
        numbers = ctypes.POINTER(ctypes.c_double)
        function.argtypes, function.restype = [numbers, numbers], None
        found = np.empty((len(raw), outputs + 1))  # what comes after the numbers has room
        for row, to in zip(np.ascontiguousarray(raw), found, strict=True):
            function(row.ctypes.data_as(numbers), to.ctypes.data_as(numbers))
        return found[:, :outputs]

    def calendar(self, home: str, local_s: int, inputs: int) -> Floats:
        """Return inputs, in which those of a local time are filled in, ``[inputs]``."""
        function = getattr(self._library, f"{identifier(home)}_calendar")
        numbers = ctypes.POINTER(ctypes.c_double)
        function.argtypes, function.restype = [ctypes.c_longlong, numbers], None
        found = np.zeros(inputs)
        function(local_s, found.ctypes.data_as(numbers))
        return found


def by_onnx(data: bytes, raw: Floats) -> Floats:
    """Return what an export in ONNX gives, ``[rows, outputs]``."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # constants that it folds are no fault
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"inputs": raw})
    return np.asarray(found, np.float64)


def self_tested(file: Path, flags: Sequence[str] = ()) -> str:
    """Compile an export's own test, run it, and return what it prints.

    Args:
        file: The export.
        flags: Further ones for the compiler.
    """
    assert COMPILER is not None
    program = file.resolve().with_suffix(".test")
    words = [COMPILER, *STRICT, "-O2", *flags, "-DFEDHOME_SELF_TEST", file, "-o", program, "-lm"]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout
