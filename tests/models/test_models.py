"""Models: what is refused, with every fault at once; what cannot train side by side is told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedhome.errors import ModelError, PluginError
from fedhome.models.check import check_module, faults_of, vectorises
from fedhome.models.mlp import KeyedDropout, build_model, mlp
from fedhome.plan.settings import Plan
from helpers import tiny

_MODULES = """
import torch
from torch import nn

class Recurrent(nn.Module):
    def __init__(self, features, outputs, width=4):
        super().__init__()
        self.cell = nn.GRU(features, width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        return self.head(self.cell(x[:, None])[0][:, -1])

class Branching(Recurrent):
    def forward(self, x):
        return super().forward(x if float(x.sum()) < 1e9 else x / 2)

def normal(features, outputs):
    return nn.Sequential(nn.Linear(features, 4), nn.BatchNorm1d(4), nn.Linear(4, outputs))

def dropping(features, outputs, rate=0.5):
    shared = nn.Dropout(rate)
    return nn.Sequential(nn.Linear(features, 4), shared, nn.Linear(4, 4), shared,
                         nn.Linear(4, outputs))

def narrow(n_in, n_out):
    return nn.Linear(n_in, n_out)

def a_number(features, outputs):
    return 3

NOT_CALLABLE = 3
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"my_modules_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(_MODULES)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def _plan(name: str, **args: object) -> Plan:
    return tiny.plan(model={"name": name, "args": args})


def test_every_fault_is_told_at_once() -> None:
    module = nn.Sequential(
        nn.Linear(3, 4),
        nn.BatchNorm1d(4),
        nn.AlphaDropout(0.1),
        nn.Linear(4, 1).double(),
        nn.GRU(4, 4, num_layers=2, dropout=0.2),
    )
    module.register_buffer("mean", torch.zeros(3))
    faults = faults_of(module)
    for word in ("BatchNorm1d", "AlphaDropout", "float64", "mean", "GRU"):
        assert any(word in fault for fault in faults), word
    with pytest.raises(ModelError) as caught:
        check_module(module, 3, 1)
    assert all(fault in caught.value.message for fault in faults)


def test_a_module_without_parameters_is_refused() -> None:
    with pytest.raises(ModelError, match="no parameter to learn"):
        check_module(nn.Identity(), 3, 3)


def test_parameters_that_shall_not_learn_are_refused() -> None:
    """They were trained all the same, and nobody was told."""
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    module[0].weight.requires_grad = False
    with pytest.raises(ModelError, match=r"requires_grad is False\): 0\.weight; all"):
        check_module(module, 3, 1)
    module[0].weight.requires_grad = True
    check_module(module, 3, 1)


def test_parameters_without_a_shape_are_refused() -> None:
    with pytest.raises(ModelError, match=r"0\.weight, 0\.bias would get a shape by a first batch"):
        check_module(nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 1)), 3, 1)


class _Listed(nn.Module):
    """Has layers that torch does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(3, 3)]
        self.heads = {"load": nn.Linear(3, 1)}
        self.seen = nn.Linear(3, 3)
        self.widths = [3, 1]
        self._deep = [[nn.Linear(3, 3)]]
        self.weights = (self.seen.weight,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.heads["load"](self.layers[0](self.seen(x)))
        return out


def test_layers_in_a_list_are_refused() -> None:
    """Half of the model would have kept its first numbers for ever."""
    faults = faults_of(_Listed())
    assert [fault.partition(",")[0] for fault in faults] == [
        "layers holds layers or parameters in a list",
        "heads holds layers or parameters in a dict",
        "_deep holds layers or parameters in a list",
        "weights holds layers or parameters in a tuple",
    ]


class _NamedAgain(nn.Module):
    """Goes through layers by a list, each of which torch sees, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 1)
        self.layers = [self.first, self.second]
        self.whole = (self,)
        self.cell = nn.GRU(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def test_a_list_of_layers_that_torch_sees_is_none() -> None:
    check_module(_NamedAgain(), 3, 1)


def test_a_module_that_gives_no_tensor_is_refused() -> None:
    with pytest.raises(ModelError, match="is of type tuple: "):
        check_module(nn.Sequential(nn.Linear(3, 4), nn.LSTM(4, 1)), 3, 1)


def test_a_class_that_takes_other_arguments_is_told_which_it_is_given(modules: str) -> None:
    with pytest.raises(PluginError) as caught:
        build_model(_plan(f"{modules}:narrow"), 3, 1)
    assert caught.value.hint.endswith("; it is called with features=, outputs=")


class _Cut(nn.Linear):
    """Its output is cut off from what it is computed by."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).detach()


def test_a_module_whose_output_gives_no_gradient_is_refused() -> None:
    """It would pass rounds without learning anything, and nobody would be told."""
    with pytest.raises(ModelError, match="no gradient comes from its output"):
        check_module(_Cut(3, 1), 3, 1)
    with torch.no_grad():  # whoever calls may want none: the module is right all the same
        check_module(nn.Linear(3, 1), 3, 1)


def test_a_module_of_another_width_is_refused() -> None:
    with pytest.raises(ModelError, match=r"does not take an input of \[batch, 3\]"):
        check_module(nn.Linear(4, 1), 3, 1)
    with pytest.raises(ModelError, match=r"\[2, 2\] is needed"):
        check_module(nn.Linear(3, 1), 3, 2)
    squeezed = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    with pytest.raises(ModelError, match=r"is \[2\]: \[2, 1\] is needed"):
        check_module(squeezed, 3, 1)  # it would be broadcast against the targets


def test_a_plain_mlp_has_the_widths_of_the_plan() -> None:
    shapes = [tuple(p.shape) for p in mlp(3, 2, hidden=(5, 4)).parameters()]
    assert shapes == [(5, 3), (5,), (4, 5), (4,), (2, 4), (2,)]
    assert [tuple(p.shape) for p in mlp(3, 2, hidden=()).parameters()] == [(2, 3), (2,)]


@pytest.mark.parametrize("norm", ["none", "layer", "group"])
def test_every_norm_can_be_trained(norm: str) -> None:
    module = mlp(3, 2, hidden=(16, 5), dropout=0.2, norm=norm)
    check_module(module, 3, 2)
    assert vectorises(module, 3) == ""


def test_the_same_plan_gives_the_same_parameters_whatever_was_drawn_before() -> None:
    torch.manual_seed(1)
    first = build_model(tiny.plan(), 3, 1)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    torch.rand(100)
    second = build_model(tiny.plan(), 3, 1)
    other = build_model(tiny.plan(seed=4), 3, 1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # the global generator is as it was
    for one, two, three in zip(
        first.parameters(), second.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)


def test_a_users_module_is_built_with_its_arguments(modules: str) -> None:
    module = build_model(_plan(f"{modules}:Recurrent", width=6), 3, 1)
    assert module.get_submodule("cell").hidden_size == 6


def test_batch_norm_of_a_user_is_refused(modules: str) -> None:
    with pytest.raises(ModelError, match="LayerNorm or GroupNorm"):
        build_model(_plan(f"{modules}:normal"), 3, 1)


@pytest.mark.parametrize(
    ("attribute", "error", "why"),
    [
        ("a_number", ModelError, "not a torch.nn.Module"),
        ("NOT_CALLABLE", PluginError, "not callable"),
        ("missing", PluginError, "not found"),
    ],
)
def test_what_is_no_module_is_refused(
    modules: str, attribute: str, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        build_model(_plan(f"{modules}:{attribute}"), 3, 1)


def test_an_unknown_name_says_what_is_known() -> None:
    with pytest.raises(PluginError, match="mlp"):
        build_model(_plan("cnn"), 3, 1)


def test_dropouts_of_a_user_are_replaced_each_by_its_own(modules: str) -> None:
    module = build_model(_plan(f"{modules}:dropping", rate=0.25), 3, 1)
    found = [part for part in module.modules() if isinstance(part, KeyedDropout)]
    assert [(part.rate, part.place) for part in found] == [(0.25, 0), (0.25, 1)]
    assert not any(type(part) is nn.Dropout for part in module.modules())


@pytest.mark.long
def test_a_recurrent_module_trains_for_many_homes_at_once(modules: str, tmp_path: Path) -> None:
    notes: list[str] = []
    plan = _plan(f"{modules}:Recurrent")
    fleet = tiny.homes()[:2]
    side_by_side = tiny.run(plan, fleet, tmp_path / "vector", notes=notes)
    one_by_one = tiny.run(
        plan.change(engine={"name": "sequential"}), fleet, tmp_path / "sequential"
    )
    assert ["(the kernel 'traced')" in note for note in notes] == [True]
    np.testing.assert_allclose(side_by_side.state.flat, one_by_one.state.flat, rtol=2e-4, atol=2e-6)


def test_a_module_that_looks_at_numbers_trains_home_after_home_and_says_so(
    modules: str, tmp_path: Path
) -> None:
    notes: list[str] = []
    plan = _plan(f"{modules}:Branching")
    fleet = tiny.homes()[:2]
    side_by_side = tiny.run(plan, fleet, tmp_path / "vector", notes=notes)
    one_by_one = tiny.run(
        plan.change(engine={"name": "sequential"}), fleet, tmp_path / "sequential"
    )
    (note,) = notes
    assert note.startswith("the model is trained home after home: ")
    assert "it asks a tensor for its value" in note
    np.testing.assert_array_equal(side_by_side.state.flat, one_by_one.state.flat)


def test_control_flow_on_the_data_is_noticed() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.linear(x)
            return y if float(y.sum()) > 0 else -y

    assert "it asks a tensor for its value" in vectorises(Branching(), 3)
    assert vectorises(nn.Sequential(nn.GRUCell(3, 1)), 3) == ""


def test_writing_in_place_is_noticed() -> None:
    class Writing(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.zeros(len(x), 1)
            y[:] = super().forward(x)
            return y

    assert "it writes into a tensor in place" in vectorises(Writing(3, 1), 3)


def test_keyed_dropout_drops_its_share_and_keeps_the_mean() -> None:
    dropout, x = KeyedDropout(0.3), torch.ones(200, 100)
    assert torch.equal(dropout(x), x)  # without a key nothing is dropped
    dropout.key = torch.tensor(123456789)
    out = dropout(x)
    assert float((out == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert float(out.mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.allclose(out[out != 0], torch.tensor(1 / 0.7))
    assert torch.equal(dropout(x), out)


def test_keys_and_places_give_masks_of_their_own() -> None:
    x = torch.ones(1, 4096)
    masks = []
    for key, place in ((1, 0), (2, 0), (1, 1)):
        dropout = KeyedDropout(0.5, place)
        dropout.key = torch.tensor(key)
        masks.append(dropout(x) == 0)
    for one, two in ((0, 1), (0, 2), (1, 2)):
        agree = float((masks[one] == masks[two]).float().mean())
        assert agree == pytest.approx(0.5, abs=0.05)  # as of independent coins


def test_a_module_that_begins_with_numbers_that_are_not_finite_is_refused() -> None:
    module = nn.Linear(2, 1)
    assert faults_of(module) == []
    nn.init.constant_(module.bias, math.nan)
    assert faults_of(module) == ["parameter bias begins with numbers that are not finite"]
