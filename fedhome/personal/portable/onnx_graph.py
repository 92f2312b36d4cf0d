"""A graph of ONNX as it grows: nodes, constants, and the few sums that recur."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import EngineError

OPSET: Final = 17
TREE_OPSET: Final = 3
IR: Final = 9
TREES: Final = "ai.onnx.ml"


def onnx_package() -> Any:
    """Return the package onnx.

    Raises:
        EngineError: It is not installed.
    """
    try:
        importlib.import_module("onnx.numpy_helper")
        return importlib.import_module("onnx")
    except ImportError:
        raise EngineError(
            "a file in ONNX is written by the package onnx, which is not installed",
            hint="pip install 'fedhome[export]'",
        ) from None


@dataclass
class Graph:
    """Nodes in their order, each with one result.

    Args:
        onnx: The package.
    """

    onnx: Any
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of its result.

        Args:
            operator: What it does, as ONNX calls it.
            inputs: Names of what it takes.
            domain: Of operators that are not ONNX's own.
            attributes: As the operator has them.
        """
        name = f"{operator.lower()}_{len(self.nodes)}"
        made = self.onnx.helper.make_node(operator, inputs, [name], domain=domain, **attributes)
        self.nodes.append(made)
        return name

    def constant(self, values: NDArray[Any] | float) -> str:
        """Add a constant, float64 where it is a plain number, and return its name."""
        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(values) if isinstance(values, np.ndarray) else np.array(values)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def cast(self, name: str, kind: type[np.generic]) -> str:
        """Return numbers in another type."""
        made = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        return self.node("Cast", name, to=made)

    def column(self, name: str, *places: int) -> str:
        """Return some columns of ``[rows, columns]``."""
        return self.node("Gather", name, self.constant(np.array(places, np.int64)), axis=1)

    def summed(self, name: str) -> str:
        """Return the sum of each row, ``[rows, 1]``."""
        return self.node("ReduceSum", name, self.constant(np.array([1], np.int64)), keepdims=1)

    def is_finite(self, name: str) -> str:
        """Return where numbers are neither NaN nor infinite."""
        return self.node("Equal", self.node("Sub", name, name), self.constant(0.0))
