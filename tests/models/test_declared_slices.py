"""A module of a user's own says where its slices lie: what is right, and every fault at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedhome.errors import ModelError
from fedhome.models import first_places, places_in
from fedhome.models.declared_places import Declaration, faults_of_one, uncovered
from fedhome.models.declared_slices import declared_slices, shells_in
from fedhome.wire.layout import Layout
from helpers import tiny
from helpers.sliced_modules import Convolution, Exits, Gates, Scattered

SMALL, HUB = (
    {"name": "small", "width": 0.25, "depth": 1, "share": 0.5},
    {"name": "hub", "width": 1.0, "depth": 1, "share": 0.5},
)
PLAN = tiny.plan(model={"name": "any:Module"}, slicing={"tiers": [SMALL, HUB]})


def _declared(module: nn.Module, outputs: int = 1) -> Any:
    return declared_slices(PLAN, module, tiny.FEATURES, outputs)


def _faults(module: nn.Module) -> list[str]:
    with pytest.raises(ModelError) as caught:
        _declared(module)
    return [line.removeprefix("  - ") for line in caught.value.message.splitlines()[1:]]


def _numbers(module: nn.Module) -> Any:
    return torch.cat([p.detach().ravel() for p in module.parameters()]).numpy()


@pytest.mark.parametrize("made", [Convolution, Gates])
def test_a_slice_is_what_the_whole_gives_with_the_other_units_at_naught(
    made: Callable[..., nn.Module],
) -> None:
    whole = made(tiny.FEATURES, 1)
    small, hub = _declared(whole)
    assert np.array_equal(np.sort(hub.path), np.arange(len(_numbers(whole))))
    numbers = _numbers(whole)
    with torch.no_grad():
        start = 0
        for parameter in small.module.parameters():
            count = parameter.numel()
            own = torch.from_numpy(numbers[small.path[start : start + count]])
            parameter.copy_(own.view(parameter.shape))
            start += count
        off = np.setdiff1d(np.arange(len(numbers)), small.path)
        numbers[off], start = 0.0, 0
        for parameter in whole.parameters():
            count = parameter.numel()
            parameter.copy_(torch.from_numpy(numbers[start : start + count]).view(parameter.shape))
            start += count
        x = torch.linspace(-1, 1, 5 * tiny.FEATURES).view(5, tiny.FEATURES)
        torch.testing.assert_close(small.module(x), whole(x), rtol=1e-5, atol=1e-6)


def test_shells_are_disjoint_and_the_whole_and_later_ones_hold_earlier_slices() -> None:
    plan = PLAN.change(slicing={"tiers": [SMALL, {**HUB, "depth": 2}]})
    slices = declared_slices(plan, Exits(tiny.FEATURES, 1), tiny.FEATURES, 1)
    first, second = shells_in(slices)
    assert not np.intersect1d(first, second).size
    whole = np.concatenate([first, second])
    assert np.array_equal(np.sort(whole), slices[1].carried)
    assert np.isin(slices[0].path, slices[1].carried).all()
    assert not np.isin(slices[0].path, slices[1].path).all()  # the small one's exit is its own


def test_the_same_plan_gives_slices_the_same_first_numbers() -> None:
    one, two = (_declared(Convolution(tiny.FEATURES, 1)) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(_numbers(a.module), _numbers(b.module))


def test_a_module_without_the_method_is_told_what_it_lacks() -> None:
    with pytest.raises(ModelError, match=r"Linear has no method slice\(width, depth\)"):
        _declared(nn.Linear(tiny.FEATURES, 1))


Made = Callable[[nn.Module, float], Any]


class _Bent(Convolution):
    """A convolution whose declaration is bent."""

    def __init__(self, bend: Made) -> None:
        super().__init__(tiny.FEATURES, 1)
        self.bend = bend

    def slice(self, width: float, depth: int) -> Any:
        del depth
        return self.bend(self, width)


def _with(**changed: Callable[[Any], Any]) -> Made:
    """Return a bend that changes the small slice's places of some parameters."""

    def bend(whole: nn.Module, width: float) -> Any:
        small, places = Convolution.slice(whole, width, 1)  # type: ignore[arg-type]
        places = dict(places)
        for name, change in changed.items() if width < 1 else ():
            key = name.replace("_", ".")
            places[key] = change(places[key])
        return small, places

    return bend


class _Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(tiny.FEATURES, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)


class _Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(tiny.FEATURES + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)


class _Tied(Convolution):
    def __init__(self, whole: Any, width: float) -> None:
        features, outputs, units, _ = whole.sizes
        super().__init__(features, outputs, round(width * units))
        self.inner.bias = nn.Parameter(self.inner.bias.detach())
        self.again = self.inner


def _small(made: Callable[[Any, float], Any]) -> Made:
    return lambda whole, width: (
        made(whole, width) if width < 1 else Convolution.slice(whole, width, 1)
    )


class _Leaves(Convolution):
    def forward(self, x: Tensor) -> Tensor:
        raise SystemExit(f"not with {len(x)} rows")


def _leaves(whole: Any, width: float) -> Any:
    features, outputs, units, _ = whole.sizes
    return (small := _Leaves(features, outputs, round(width * units))), first_places(whole, small)


def _moved(to: Any) -> Made:
    def bend(whole: Any, width: float) -> Any:
        small, places = Convolution.slice(whole, width, 1)
        return small.to(to), places

    return _small(bend)


def _raises(whole: Any, width: float) -> Any:
    raise ValueError(f"no {width} of {type(whole).__name__}")


_WRONG: dict[str, tuple[Made, str]] = {
    "fails": (_small(_raises), "slice(0.25, 1) fails: ValueError: no 0.25 of _Bent"),
    "no pair": (_small(lambda *_: 3), "returned int, not a module and its places"),
    "no module": (_small(lambda *_: (3, {})), "returned int in place of a torch.nn.Module"),
    "no table": (
        _small(lambda whole, width: (Convolution.slice(whole, width, 1)[0], [1])),
        "returned list in place of a table of places",
    ),
    "shape": (
        _with(out_bias=lambda places: places[:, None]),
        r"the places of out.bias have shape \[1, 1\], and the parameter \[1\]",
    ),
    "no number": (
        _with(out_bias=lambda places: places.astype(float)),
        "the places of out.bias are float64: whole numbers are needed",
    ),
    "outside": (
        _with(out_bias=lambda places: places + 1),
        "the places of out.bias go to 41, and the whole has the places 0 to 40",
    ),
    "negative": (
        _with(out_bias=lambda places: places * 0 - 1),
        "the places of out.bias go to -1, and the whole has the places 0 to 40",
    ),
    "twice": (
        _with(inner_bias=lambda places: places * 0 + 24),
        r"1 of its places are taken twice, the first 24, which is inner.bias\[0\]",
    ),
    "outputs": (
        _small(lambda *_: (_Wide(), {})),
        r"its output for \[2, 3\] is \[2, 2\]: \[2, 1\] is needed",
    ),
    "does not run": (
        _small(lambda *_: (_Broken(), {})),
        r"it does not take an input of \[batch, 3\]",
    ),
    "the whole itself": (
        _small(lambda whole, _: (whole, places_in(whole))),
        "inner.weight, inner.bias, out.weight, out.bias: memory of the whole or of a smaller slice",
    ),
    "tied": (
        _small(lambda whole, width: (small := _Tied(whole, width), first_places(whole, small))),
        "its parameters inner.weight and again.weight are one",
    ),
    "no such parameter": (
        _small(lambda whole, _: (small := nn.Linear(3, 1), first_places(whole, small))),
        "ModelError: the slice is no first part of the whole: the whole has no parameter weight",
    ),
    "other numbers": (
        _moved(torch.bfloat16),
        "parameter inner.weight is torch.bfloat16: float32 is needed",
    ),
    "no numbers": (_moved("meta"), r"it does not take an input of \[batch, 3\]"),
    "leaves": (_small(_leaves), "it does not take an input of .*not with 2 rows"),
    "a norm over rows": (
        _small(lambda *_: (nn.Sequential(nn.BatchNorm1d(3)), {})),
        r"BatchNorm1d\) keeps statistics of other rows",
    ),
}


@pytest.mark.parametrize("name", _WRONG)
def test_a_wrong_declaration_is_refused_with_its_tier(name: str) -> None:
    bend, told = _WRONG[name]
    faults = _faults(_Bent(bend))
    assert any(fault.startswith("tier small: ") for fault in faults)
    with pytest.raises(ModelError, match=told.replace("(0.25, 1)", r"\(0.25, 1\)")):
        _declared(_Bent(bend))


def test_all_faults_are_told_at_once() -> None:
    def bend(whole: Any, width: float) -> Any:
        if width == 1:
            return _Wide(), {"strange": [1]}
        small, places = Convolution.slice(whole, width, 1)
        return small, {**places, "out.bias": [99], "inner.bias": [0.5, 1.5]}

    faults = _faults(_Bent(bend))
    assert len(faults) == 6
    assert [fault.split(":")[0] for fault in faults] == ["tier small"] * 2 + ["tier hub"] * 4


def _line(small: tuple[list[int], int], hub: tuple[list[int], int]) -> Scattered:
    return Scattered(3, 1, {"0.25": small, "1.0": hub})


def test_what_slices_get_wrong_together_is_told() -> None:
    (fault,) = _faults(_line(([0], 3), ([0, 1], 3)))
    assert "1 of the whole's 4 numbers are in no tier's slice" in fault
    assert "line.weight (1 of 3)" in fault
    faults = _faults(_line(([0], 1), ([2], 3)))
    assert "tier hub has no number in common with smaller tiers" in faults[0]
    assert "the slices of tiers small and hub have the same parameters" in faults[1]
    (fault,) = _faults(_line(([0, 1, 2], 3), ([0, 1], 3)))
    assert fault.startswith("tier hub has no number that smaller tiers do not have: leave it out")


_SIZES = st.integers(1, 3)


@settings(deadline=None, max_examples=100)
@given(data=st.data(), rows=_SIZES, columns=_SIZES)
def test_a_declaration_is_free_of_faults_just_where_a_plain_look_finds_none(
    data: st.DataObject, rows: int, columns: int
) -> None:
    whole = Layout(("a", "b"), ((rows, columns), (rows,)))
    own = Layout(("a", "b"), ((data.draw(st.integers(1, rows)), columns), (1,)))
    place = st.integers(-1, whole.size)
    places: Mapping[str, Any] = {
        name: np.array(data.draw(st.lists(place, min_size=size, max_size=size)), np.int64).reshape(
            shape
        )
        for name, shape, size in zip(own.names, own.shapes, own.sizes, strict=True)
    }
    declared = Declaration(tier="t", layout=own, places=places)
    flat = [int(p) for values in places.values() for p in values.ravel()]
    right = len(set(flat)) == len(flat) and all(0 <= p < whole.size for p in flat)
    assert (not faults_of_one(declared, whole)) == right
    if right:
        assert declared.path().tolist() == flat
        assert (not uncovered(whole, declared.path())) == (set(flat) == set(range(whole.size)))
