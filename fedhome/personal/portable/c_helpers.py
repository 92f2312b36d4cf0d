"""The functions that an exported model in C stands on: layers, norms, lines, trees, mixtures.

``@`` stands for the prefix of all names of a file. Loops over units run inside those over inputs,
in blocks of 32 or 8 units, so that compilers keep sums in registers and use vector instructions
without being told that they may reorder additions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_DENSE = """\
/* WIDE units of a layer: weights lie input by input, WIDE units side by side. */
static void @_denseWIDE_NUMBER(const TYPE *weights, const float *scale, const float *bias,
                        const float *x, int inputs, float *y)
{
    float sum[WIDE] = {0};
    int i, unit;
    for (i = 0; i < inputs; i++) {
        const float at = x[i];
        for (unit = 0; unit < WIDE; unit++)
            sum[unit] += (float)weights[i * WIDE + unit] * at;
    }
    for (unit = 0; unit < WIDE; unit++)
        y[unit] = sum[unit] * (scale ? scale[unit] : 1.0f) + bias[unit];
}
"""

_DENSE_ONE = """\
/* One unit of a layer. */
static void @_dense1_NUMBER(const TYPE *weights, const float *scale, const float *bias,
                        const float *x, int inputs, float *y)
{
    float sum[4] = {0};
    int i, part;
    for (i = 0; i + 3 < inputs; i += 4)
        for (part = 0; part < 4; part++)
            sum[part] += (float)weights[i + part] * x[i + part];
    for (; i < inputs; i++)
        sum[0] += (float)weights[i] * x[i];
    y[0] = (sum[0] + sum[1] + sum[2] + sum[3]) * (scale ? scale[0] : 1.0f) + bias[0];
}
"""

_RELU = """\
static void @_relu(float *x, int units)
{
    int unit;
    for (unit = 0; unit < units; unit++)
        x[unit] = x[unit] > 0.0f ? x[unit] : 0.0f;
}
"""

_NORM = """\
/* Each group's mean becomes 0 and its spread 1, then each unit has its own. */
static void @_norm(const float *weight, const float *bias, int units, int groups, float *x)
{
    const int size = units / groups;
    int group, unit;
    for (group = 0; group < groups; group++) {
        float *own = x + group * size;
        float mean = 0.0f, spread = 0.0f;
        for (unit = 0; unit < size; unit++)
            mean += own[unit];
        mean /= (float)size;
        for (unit = 0; unit < size; unit++)
            spread += (own[unit] - mean) * (own[unit] - mean);
        spread = sqrtf(spread / (float)size + 1e-5f);
        for (unit = 0; unit < size; unit++)
            own[unit] = (own[unit] - mean) / spread;
    }
    for (unit = 0; unit < units; unit++)
        x[unit] = x[unit] * weight[unit] + bias[unit];
}
"""

_LINE = """\
static void @_line(const double *slopes, const double *levels, const float *x, int columns,
                   double *values)
{
    int i, column;
    for (column = 0; column < columns; column++)
        values[column] = levels[column];
    for (i = 0; i < @@_MODEL_INPUTS; i++)
        for (column = 0; column < columns; column++)
            values[column] += slopes[i * columns + column] * (double)x[i];
}
"""

_TREES = """\
/* Trees: a node's first branch is the node after it, right[] its other one; at a leaf input[] is
   -1, and split[] is what it says, or right[] its row of leaves[]. */
static void @_trees(const @_input *input, const float *split, const @_node *right,
                    const float *leaves, const @_node *roots, int trees, int columns,
                    const float *x, double *values)
{
    int tree, column;
    for (column = 0; column < columns; column++)
        values[column] = 0.0;
    for (tree = 0; tree < trees; tree++) {
        unsigned long node = roots[tree];
        while (input[node] >= 0)
            node = x[input[node]] <= split[node] ? node + 1 : right[node];
        if (!leaves)
            values[0] += (double)split[node];
        else
            for (column = 0; column < columns; column++)
                values[column] += (double)leaves[(unsigned long)right[node] * (unsigned long)columns
                                                 + (unsigned long)column];
    }
}
"""

_SHARES = """\
static void @_shares(double *values, int columns)
{
    double most = values[0], sum = 0.0;
    int column;
    for (column = 1; column < columns; column++)
        most = values[column] > most ? values[column] : most;
    for (column = 0; column < columns; column++) {
        values[column] = (double)expf((float)(values[column] - most));
        sum += values[column];
    }
    for (column = 0; column < columns; column++)
        values[column] /= sum;
}
"""

_PLACED = """\
static void @_placed(const double *shares, const int *classes, int seen, double *stated)
{
    int one;
    for (one = 0; one < @@_STATED; one++)
        stated[one] = 0.0;
    for (one = 0; one < seen; one++)
        if (@@_STATED > 1)
            stated[classes[one]] = shares[one];
        else if (classes[one] == 1)
            stated[0] = shares[one];
}
"""

_ADD = """\
/* An expert has its say; where it says nothing that is finite, the naive forecast has it. */
static void @_add(double weight, const double *stated, const double *naive, double *mixed)
{
    int one, finite = 1;
    for (one = 0; one < @@_STATED; one++)
        finite = finite && @_finite((double)(float)stated[one]);
    for (one = 0; one < @@_STATED; one++)
        mixed[one] += weight * (finite ? (double)(float)stated[one] : naive[one]);
}
"""

HELPERS: Final[Mapping[str, str]] = {
    "dense32": _DENSE.replace("WIDE_NUMBER", "32_NUMBER").replace("WIDE", "32"),
    "dense8": _DENSE.replace("WIDE_NUMBER", "8_NUMBER").replace("WIDE", "8"),
    "dense1": _DENSE_ONE,
    "relu": _RELU,
    "norm": _NORM,
    "line": _LINE,
    "trees": _TREES,
    "shares": _SHARES,
    "placed": _PLACED,
    "add": _ADD,
}
"""Functions by what needs them, each after those that it calls."""


def helper(name: str, *, int8: bool) -> str:
    """Return a function of :data:`HELPERS` in C.

    Args:
        name: Its name.
        int8: Whether networks' weights take one byte.
    """
    number, kind = ("i8", "signed char") if int8 else ("f32", "float")
    return HELPERS[name].replace("NUMBER", number).replace("TYPE", kind)
