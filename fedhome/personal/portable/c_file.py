"""A home's own model as one file in C99: constant arrays, no memory asked for, its own test."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fedhome.data.series.local_time import CALENDAR
from fedhome.data.series.scaling import FAR
from fedhome.data.series.seasons import SEASONS
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Perceptron
from fedhome.learning.tasks.segments import Floats
from fedhome.personal.model import PersonalModel
from fedhome.personal.portable.c_experts import CParts, expert_in_c
from fedhome.personal.portable.c_helpers import HELPERS, helper
from fedhome.personal.portable.raw_inputs import (
    RawInput,
    inputs_of,
    own_name,
    probe,
)
from fedhome.personal.portable.text import comment, identifier, real, with_names
from fedhome.personal.predictor import NETWORKS
from fedhome.plan.time_steps import ahead_of

_CLOSE = 1e-5


def c_of(model: PersonalModel, *, int8: bool) -> str:
    """Return a model as a file in C99.

    Args:
        model: The model; of :func:`~fedhome.personal.portable.chosen.in_int8` where ``int8``.
        int8: Whether its networks' weights take one byte each.
    """
    parts = CParts(model.targets, int8)
    for name in ("medians", "middle", "spread"):
        if name == "medians" or model.scaling.bounded:
            parts.array(name, "double", getattr(model.scaling, name))
    if model.scaling.relative.any():
        parts.array("relative", "int", model.scaling.relative.astype(np.int64))
    expert_in_c(parts, "naive", model.naive, raw=False)
    called: dict[str, str] = {}
    for name in model.weights:
        called[name] = identifier(f"expert {name}", called.values())
    for name, expert in model.experts.items():
        expert_in_c(parts, called[name], expert, raw=name in NETWORKS)
    parts.helpers.add("add")
    if isinstance(model.by, Reach):
        parts.array("low", "double", model.by.low)
        parts.array("high", "double", model.by.high)
    predict = _predict(model, called)
    text = "\n".join(
        [
            _head(model, parts, int8=int8),
            _declarations(model),
            "#ifndef @@_DECLARATIONS_ONLY\n",
            "#include <math.h>\n",
            *(f"typedef {kind} {name};\n" for name, kind in parts.types.items()),
            _sizes(model),
            _FINITE,
            *parts.arrays,
            *(helper(name, int8=int8) for name in HELPERS if name in parts.helpers),
            *parts.functions,
            predict,
            _calendar(model),
            _self_test(model),
            "#endif /* @@_DECLARATIONS_ONLY */",
            "#endif /* @@_ONCE */\n",
        ]
    )
    return with_names(text, identifier(own_name(model)))


_FINITE = """\
static int @_finite(double value)
{
    return value - value == 0.0;
}
"""


def _head(model: PersonalModel, parts: CParts, *, int8: bool) -> str:
    experts = ", ".join(f"{name} {weight:.3f}" for name, weight in model.weights.items())
    kind = "int8 with a scale for each unit" if int8 else "float"
    networks = any(isinstance(one, Perceptron) for one in model.experts.values())
    what = f"{model.target} in {model.target_unit}" if model.target_unit else model.target
    ahead = "" if model.ahead is None else f", {ahead_of(str(model.ahead))}"
    about = f"What is to be expected of {what}{ahead}: the model of {model.home}, from {model.run}."
    lines = [
        comment(about),
        comment(f"Experts and their weights: {experts}."),
        *([f"Weights of networks: {kind}."] if networks else []),
        f"Constants: {parts.size} bytes. C99; nothing is allocated, nothing is written but the",
        "result, so that several threads may ask at once. Not for -ffast-math: NaN has a meaning.",
        "",
        "    cc -std=c99 -O3 -DFEDHOME_SELF_TEST THIS.c -lm && ./a.out     tests it",
        "    #define @@_DECLARATIONS_ONLY before #include: what another file needs of it",
        "",
        "A reading that is missing may be the last one of the day before it; else it is NaN.",
        "",
        "Whoever has this file has the model, and can learn from it about the home.",
    ]
    text = "\n".join(f"   {line}".rstrip() for line in lines)
    return f"/*\n{text}\n*/\n#ifndef @@_ONCE\n#define @@_ONCE\n"


def _named(model: PersonalModel) -> Iterator[tuple[str, RawInput]]:
    taken: set[str] = {"inputs", "model_inputs", "stated", "once", "declarations_only", "classes"}
    for one in inputs_of(model):
        name = identifier(f"in {one.name}", taken)
        taken.add(name)
        yield name.upper(), one


def _declarations(model: PersonalModel) -> str:
    named = list(_named(model))
    lines = [
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        "/* The inputs, in this order. What is missing is NaN. */",
        "enum {",
    ]
    for place, (name, one) in enumerate(named):
        unit = f" [{one.unit}]" if one.unit else ""
        lines.append(f"    @@_{name} = {place}, /* {comment(f'{one.name}{unit}: {one.about}')} */")
    lines += [f"    @@_INPUTS = {len(named)}", "};", ""]
    outputs = model.predictor.outputs
    if isinstance(model.by, Reach):
        unit = f" in {model.target_unit}" if model.target_unit else ""
        lines += [
            f"/* {comment(model.target + unit)}: the expected value, and the band in",
            "   which 4 of 5 truths lay in validation. NaN: nothing can be said. */",
            "typedef struct { double value, low, high; } @_prediction;",
        ]
    else:
        lines += ["/* The classes. */", "enum {"]
        taken: set[str] = set()
        for place, output in enumerate(outputs):
            name = identifier(f"class {output}", taken)
            taken.add(name)
            lines.append(f"    @@_{name.upper()} = {place}, /* {comment(output)} */")
        lines += [
            f"    @@_CLASSES = {len(outputs)}",
            "};",
            "",
            "/* Each class's probability, and the likeliest class. */",
            "typedef struct { double probability[@@_CLASSES]; int likeliest; } @_prediction;",
        ]
    if CALENDAR[0] in model.scaling.features:
        lines += [
            "",
            "/* Fills in the inputs of the local time: seconds since 1970-01-01 00:00 on the",
            "   home's own clock. It needs sin and cos; only where FEDHOME_CALENDAR is defined. */",
            "#ifdef FEDHOME_CALENDAR",
            "void @_calendar(long long local_s, double inputs[@@_INPUTS]);",
            "#endif",
        ]
    lines += [
        "",
        "void @_predict(const double inputs[@@_INPUTS], @_prediction *found);",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _sizes(model: PersonalModel) -> str:
    inputs = [one for one in inputs_of(model) if one.role in ("feature", "indicator")]
    stated = len(model.predictor.outputs) if model.targets == "multi-class" else 1
    return (
        f"enum {{ @@_FEATURES = {len(model.scaling.features)}, "
        f"@@_MODEL_INPUTS = {len(inputs)}, @@_STATED = {stated} }};\n"
    )


def _predict(model: PersonalModel, called: dict[str, str]) -> str:
    features, inputs = len(model.scaling.features), inputs_of(model)
    indicators = [place for place, one in enumerate(inputs) if one.role == "indicator"]
    relative = model.scaling.relative.any()
    body = [
        "float x[@@_MODEL_INPUTS];",
        f"double series[{1 + len(SEASONS)}], naive[@@_STATED], mixed[@@_STATED] = {{0}};",
        *(["double stated[@@_STATED];"] if model.experts else []),
        "int i;",
        "const double missing = (double)NAN;",
        "(void)missing;",
        *_last(model, inputs),
        "for (i = 0; i < @@_FEATURES; i++) {",
        "    double value = inputs[i];",
        *(["    if (@_relative[i])", "        value -= last;"] if relative else []),
        "    if (!@_finite(value))",
        "        value = @_medians[i];",
    ]
    if model.scaling.bounded:
        far = real(FAR)
        body += [
            "    value = (value - @_middle[i]) / @_spread[i];",
            f"    value = value < -{far} ? -{far} : value > {far} ? {far} : value;",
        ]
    body += ["    x[i] = (float)value;", "}"]
    for number, place in enumerate(indicators):
        of = inputs[place].number
        body.append(
            f"x[{features + number}] = inputs[{place}] != 0.0 || !@_finite(inputs[{of}]) "
            "? 1.0f : 0.0f;"
        )
    body.append("".join(f"series[{n}] = " for n in range(1 + len(SEASONS))) + "missing;")
    for place, one in enumerate(inputs):
        if one.role in ("last", "season"):
            slot = one.number if one.role == "season" else 0
            from_last = " - last" if model.changes else ""
            body.append(
                f"series[{slot}] = @_finite(inputs[{place}]) ? (inputs[{place}]{from_last} - "
                f"{real(model.level)}) / {real(model.unit)} : missing;"
            )
    body.append("@_naive(x, series, naive);")
    for name, weight in model.weights.items():
        if name in model.experts:
            body.append(f"@_{called[name]}(x, series, stated); /* {comment(name)} */")
            body.append(f"@_add({real(weight)}, stated, naive, mixed);")
        else:
            body.append(f"@_add({real(weight)}, naive, naive, mixed); /* {comment(name)} */")
    body += _ended(model, inputs)
    text = "\n".join(f"    {line}" for line in body)
    return f"void @_predict(const double inputs[@@_INPUTS], @_prediction *found)\n{{\n{text}\n}}\n"


def _last(model: PersonalModel, inputs: tuple[RawInput, ...]) -> Iterator[str]:
    """Yield what the newest reading is, where statements are changes from it."""
    if model.changes:
        place = next(place for place, one in enumerate(inputs) if one.role == "last")
        yield f"const double last = @_finite(inputs[{place}]) ? inputs[{place}] : missing;"


def _ended(model: PersonalModel, inputs: tuple[RawInput, ...]) -> Iterator[str]:
    if isinstance(model.by, Reach):
        quarter = "0"
        moment = next((place for place, one in enumerate(inputs) if one.role == "moment"), None)
        if moment is not None:
            yield f"if (inputs[{moment}] > -1e15 && inputs[{moment}] < 1e15) {{"
            yield f"    const long long second = (long long)inputs[{moment}] % 86400;"
            yield "    i = (int)((second < 0 ? second + 86400 : second) / 21600);"
            yield "} else"
            yield "    i = -1;"
            quarter = "i"
        unit, level = real(model.unit), real(model.level)
        level += " + last" if model.changes else ""
        yield f"found->value = mixed[0] * {unit} + {level};"
        for side in ("low", "high"):
            reach = f"(mixed[0] + @_{side}[{quarter}]) * {unit} + {level}"
            yield f"found->{side} = {reach if moment is None else f'i < 0 ? missing : {reach}'};"
        return
    if model.targets == "binary":
        yield "found->probability[0] = 1.0 - mixed[0];"
        yield "found->probability[1] = mixed[0];"
    else:
        yield "for (i = 0; i < @@_CLASSES; i++)"
        yield "    found->probability[i] = mixed[i];"
    yield "{"
    yield "    double sum = 0.0;"
    yield "    for (i = 0; i < @@_CLASSES; i++) {"
    yield "        double share = found->probability[i] > 1e-6 ? found->probability[i] : 1e-6;"
    if model.by != 1.0:
        yield f"        share = (double)powf((float)share, {real(np.float32(1.0 / model.by))}f);"
    yield "        sum += found->probability[i] = share;"
    yield "    }"
    yield "    for (i = 0; i < @@_CLASSES; i++)"
    yield "        found->probability[i] /= sum;"
    yield "}"
    yield "found->likeliest = 0;"
    yield "for (i = 1; i < @@_CLASSES; i++)"
    yield "    if (found->probability[i] > found->probability[found->likeliest])"
    yield "        found->likeliest = i;"


def _calendar(model: PersonalModel) -> str:
    if CALENDAR[0] not in model.scaling.features:
        return ""
    places = [model.scaling.features.index(name) for name in CALENDAR]
    words = [
        *("sin(hour)", "cos(hour)", "sin(2.0 * hour)", "cos(2.0 * hour)"),
        *("sin(week)", "cos(week)", "(days + 3) % 7 >= 5 ? 1.0 : 0.0"),
    ]
    lines = [f"    inputs[{at}] = {word};" for at, word in zip(places, words, strict=True)]
    return f"""\
#ifdef FEDHOME_CALENDAR
void @_calendar(long long local_s, double inputs[@@_INPUTS])
{{
    const double turn = 6.283185307179586;
    const double hour = turn * (double)(local_s % 86400) / 86400.0;
    const double week = turn * ((double)local_s / 86400.0 + 3.0) / 7.0;
    const long long days = local_s / 86400;
{chr(10).join(lines)}
}}
#endif /* FEDHOME_CALENDAR */
"""


def _self_test(model: PersonalModel) -> str:
    raw = probe(model)
    expected = model.predictor.predict(raw)
    size = model.unit if isinstance(model.by, Reach) else 1.0
    shown = (
        _rows("inputs", "@@_INPUTS", raw)
        + "\n"
        + _rows("expected", str(expected.shape[1]), expected)
    )
    outputs = expected.shape[1]
    each = [f"found.probability[{one}]" for one in range(outputs)]
    if isinstance(model.by, Reach):
        each = [f"found.{name}" for name in model.predictor.outputs]
    return f"""\
#ifdef FEDHOME_SELF_TEST
#include <stdio.h>

{shown}
int main(void)
{{
    int row, one, failed = 0;
    for (row = 0; row < {len(raw)}; row++) {{
        @_prediction found;
        double got[{outputs}], off = 0.0;
        @_predict(inputs[row], &found);
        {" ".join(f"got[{place}] = {word};" for place, word in enumerate(each))}
        for (one = 0; one < {outputs}; one++) {{
            const double apart = got[one] - expected[row][one];
            if (@_finite(expected[row][one]) != @_finite(got[one]))
                off = 1e300;
            else if (@_finite(apart) && (apart < 0.0 ? -apart : apart) > off)
                off = apart < 0.0 ? -apart : apart;
        }}
        if (off > {real(_CLOSE * size)}) {{
            printf("@: row %d is off by %g\\n", row, off);
            failed++;
        }}
    }}
    printf("@: %d of {len(raw)} rows as expected\\n", {len(raw)} - failed);
    return failed != 0;
}}
#endif /* FEDHOME_SELF_TEST */
"""


def _rows(name: str, width: str, rows: Floats) -> str:
    lines = [f"static const double {name}[{len(rows)}][{width}] = {{"]
    lines += [f"    {{{', '.join(_or_nan(value) for value in row)}}}," for row in rows]
    return "\n".join([*lines, "};\n"])


def _or_nan(value: float) -> str:
    return real(float(value)) if np.isfinite(value) else "NAN"
