"""A perceptron alone as one file in C99: constant arrays, no memory asked for, its own test.

It takes inputs as models take them and gives raw outputs. The file of a home's own model
(:mod:`fedhome.personal.portable.c_file`) does more: it scales readings and mixes experts.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import RunError
from fedhome.learning.fitted import Perceptron
from fedhome.personal.portable.c_experts import CParts, expert_in_c
from fedhome.personal.portable.c_helpers import HELPERS, helper
from fedhome.personal.portable.chosen import coarse
from fedhome.personal.portable.text import comment, identifier, numbers, real, with_names

_ROWS: Final = 16
_CLOSE: Final = 1e-5


class NetworkInC:
    """A network as a file in C.

    Args:
        network: The network.
        called: Name of the file, from which names in it are made.
        about: What it is, in a sentence.
        int8: Whether its weights take one byte each.

    Attributes:
        int8: The same.
        rows: How many rows it is tested on: drawn from a normal distribution, no home's readings.

    Raises:
        RunError: A number of it is not finite.
    """

    rows = _ROWS

    def __init__(self, network: Perceptron, *, called: str, about: str, int8: bool) -> None:
        if not all(np.isfinite(values).all() for values in network.layers.values()):
            raise RunError(
                "the network has numbers that are not finite, and predicts nothing",
                hint="take another slice, or train again with a lower train.learning_rate",
            )
        self._float, self._about, self.int8 = network, about, int8
        self._network = coarse(network) if int8 else network
        self._prefix = identifier(called)
        self._parts = CParts("continuous", int8)  # outputs as they are, whatever they mean
        expert_in_c(self._parts, "network", self._network, raw=True)

    @property
    def constants(self) -> int:
        """Bytes of its constant arrays."""
        return self._parts.size

    @property
    def off(self) -> float:
        """How far its outputs differ at most from the float network's, on its rows."""
        return float(np.abs(self._expected - self._float.output(self._drawn)).max())

    @property
    def spread(self) -> float:
        """How far the float network's outputs spread on its rows: their standard deviation."""
        return float(self._float.output(self._drawn).std(axis=0).max())

    @property
    def text(self) -> str:
        """The file."""
        inputs, outputs = self._drawn.shape[1], self._expected.shape[1]
        kind = "int8 with a scale for each unit" if self.int8 else "float"
        head = [
            comment(self._about),
            f"Weights: {kind}. Constants: {self.constants} bytes. C99; nothing is allocated.",
            "",
            "    cc -std=c99 -O3 -DFEDHOME_SELF_TEST THIS.c && ./a.out     tests it",
            "    #define @@_DECLARATIONS_ONLY before #include: what another file needs of it",
            "",
            "x: the inputs in the order of the fleet's models, scaled as the home scales them.",
            "stated: raw outputs, before they become numbers in the target's unit, or shares.",
        ]
        declared = [
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
            f"enum {{ @@_INPUTS = {inputs}, @@_STATED = {outputs} }};",
            "void @_state(const float x[@@_INPUTS], double stated[@@_STATED]);",
            "#ifdef __cplusplus",
            "}",
            "#endif",
        ]
        text = "\n".join(
            [
                "/*",
                *(f"   {line}".rstrip() for line in head),
                "*/",
                "#ifndef @@_ONCE",
                "#define @@_ONCE",
                *declared,
                "#ifndef @@_DECLARATIONS_ONLY",
                "",
                *self._parts.arrays,
                *(helper(name, int8=self.int8) for name in HELPERS if name in self._parts.helpers),
                *self._parts.functions,
                "void @_state(const float x[@@_INPUTS], double stated[@@_STATED])",
                "{",
                "    @_network(x, 0, stated);",
                "}",
                "",
                self._self_test(),
                "#endif /* @@_DECLARATIONS_ONLY */",
                "#endif /* @@_ONCE */\n",
            ]
        )
        return with_names(text, self._prefix)

    @cached_property
    def _drawn(self) -> NDArray[np.float32]:
        inputs = next(iter(self._float.layers.values())).shape[1]
        return np.random.default_rng(0).normal(size=(_ROWS, inputs)).astype(np.float32)

    @cached_property
    def _expected(self) -> NDArray[np.float32]:
        return self._network.output(self._drawn)

    def _self_test(self) -> str:
        size = max(1.0, float(np.abs(self._expected).max()))
        return f"""\
#ifdef FEDHOME_SELF_TEST
#include <stdio.h>

static const float inputs[{_ROWS} * @@_INPUTS] = {{
{numbers(self._drawn.reshape(-1), "float")}}};
static const double expected[{_ROWS} * @@_STATED] = {{
{numbers(self._expected.reshape(-1), "double")}}};

int main(void)
{{
    int row, one, failed = 0;
    for (row = 0; row < {_ROWS}; row++) {{
        double found[@@_STATED], off = 0.0;
        @_state(inputs + row * @@_INPUTS, found);
        for (one = 0; one < @@_STATED; one++) {{
            const double apart = found[one] - expected[row * @@_STATED + one];
            if (!(apart < off && -apart < off))
                off = apart < 0.0 ? -apart : apart;
        }}
        if (!(off <= {real(_CLOSE * size)})) {{
            printf("@: row %d is off by %g\\n", row, off);
            failed++;
        }}
    }}
    printf("@: %d of {_ROWS} rows as expected\\n", {_ROWS} - failed);
    return failed != 0;
}}
#endif /* FEDHOME_SELF_TEST */
"""
