"""Methods: one file each, in every engine alike; a user's own, which no engine knows."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import Field
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from fedhome.errors import EngineError, PlanError, PluginError, UpdateError
from fedhome.learning.local import LocalLearning
from fedhome.learning.methods import METHODS, FedAvg, FedProx, Method, Params, method_of, told
from fedhome.learning.plan_check import check_plan
from fedhome.learning.update_clipping import UpdateClipping, share_of
from fedhome.plan.settings import MethodSettings, Plan
from fedhome.questions.contributions import train_scalars
from fedhome.simulations.engines.kernels import FusedKernel, kernel_of
from fedhome.simulations.engines.traced import TracedKernel
from helpers import tiny

ROOT = Path(__file__).resolve().parents[2]
ENGINES = [("vector", "auto"), ("vector", "traced"), ("vector", "eager"), ("sequential", "auto")]


class Sign(Method):
    """A user's method: only the direction of the gradient counts."""

    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        del params, start
        return {name: g.sign() for name, g in gradient.items()}


class Shrink(Method):
    """A user's method: a pull towards zero, and a little towards the round's start."""

    told_by: ClassVar[Mapping[str, str]] = {"shrink": "strength"}

    strength: float = Field(0.3, ge=0)
    names: tuple[str, ...] = ()

    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        return {
            name: g + self.strength * params[name] + 0.1 * (params[name] - start[name])
            for name, g in gradient.items()
        }


OWN: dict[str, dict[str, Any]] = {
    "sign": {"name": f"{__name__}:Sign"},
    "shrink": {"name": f"{__name__}:Shrink", "args": {"strength": 0.5}},
}


def own(name: str, **sections: Any) -> Plan:
    return tiny.plan(method=OWN[name], **sections)


def weights(plan: Plan, folder: Path, notes: list[str] | None = None) -> np.ndarray:
    found = tiny.run(plan, tiny.homes(), folder, notes=notes).state.flat
    assert not np.allclose(found, tiny.learning(plan).initial, atol=1e-3)
    return found


def params_of(*values: float) -> Params:
    return {"w": torch.tensor(values)}


def test_fedprox_pulls_towards_the_start_by_hand() -> None:
    gradient, params, start = params_of(1.0, -2.0), params_of(3.0, 0.0), params_of(1.0, 4.0)
    pulled = FedProx(proximal_mu=0.5).gradient(gradient, params, start)
    assert pulled["w"].tolist() == [2.0, -4.0]  # 1 + (3 - 1) / 2 and -2 + (0 - 4) / 2
    assert FedProx(proximal_mu=0).gradient(gradient, params, start) is gradient
    assert FedAvg().gradient(gradient, params, start) is gradient
    assert (FedAvg.changes_gradient(), FedProx.changes_gradient()) == (False, True)


def test_every_method_of_ours_cites_its_paper_and_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "methods.md").read_text("utf-8")
    for name, method in METHODS.items():
        first = (sys.modules[method.__module__].__doc__ or "").splitlines()[0]
        assert re.search(r"et al\., .*\d{4}", first), name
        assert f"| `{name}` |" in guide
        assert all(f"`{setting}`" in guide for setting in method.model_fields)


@pytest.mark.long
def test_what_belongs_to_one_file_stands_nowhere_else() -> None:
    """A method's setting is its own: engines pass it on, and only kernels have code for it."""
    kernels = ("fedhome/learning/fused/", "simulations/engines/onchip/")
    allowed = {
        "proximal": {"fedhome/learning/methods/fedprox.py", "fedhome/plan/overrides.py"},
        "clipping_norm": {"fedhome/learning/update_clipping.py"},
        "norm_bit": {"fedhome/learning/update_clipping.py", "clients/membership/consent.py"},
        r"\bclip_norm\b(?!\"|$)": {
            "fedhome/learning/gradient_clipping.py",
            "simulations/benchmarks/home_trainers.py",  # the other ways to train that it measures
        },
    }
    hints = "set train.clip_norm"  # an error may name the plan's setting
    settings = "clip_norm: float = Field("
    for word, files in allowed.items():
        found = set()
        for top in ("fedhome", "clients", "server", "simulations"):
            for path in (ROOT / top).rglob("*.py"):
                text = path.read_text("utf-8").replace(hints, "").replace(settings, "")
                if re.search(word, text):
                    found.add(path.resolve().relative_to(ROOT).as_posix())
        assert {name for name in found if not name.startswith(kernels)} <= files, word


def test_a_plans_method_is_built_with_its_settings() -> None:
    assert method_of(MethodSettings()) == FedAvg()
    fedprox = method_of(MethodSettings(name="fedprox", args={"proximal_mu": 1}))
    assert fedprox == FedProx(proximal_mu=1.0)
    assert hash(fedprox) == hash(FedProx(proximal_mu=1.0))
    assert method_of(MethodSettings(**OWN["shrink"])) == Shrink(strength=0.5)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ({"name": "fedprx"}, "did you mean 'fedprox'"),
        ({"name": "fedprox"}, "method.args.proximal_mu: field required"),
        ({"name": "fedprox", "args": {"proximal_mu": -1}}, "greater than or equal to 0"),
        ({"name": "fedprox", "args": {"mu": 1, "proximal_mu": 0.1}}, "method.args.mu is not"),
        ({"args": {"proximal_mu": 0.1}}, "settings of the method 'fedavg': none"),
    ],
)
def test_a_method_that_does_not_hold_is_a_fault_of_the_plan(
    method: dict[str, Any], expected: str
) -> None:
    with pytest.raises(PlanError, match=re.escape(expected)) as caught:
        check_plan(tiny.plan(method=method))
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("pathlib:Path", {}, "no subclass of fedhome.learning.methods.Method"),
        ("math:pi", {}, "no subclass"),
        (f"{__name__}:Missing", {}, "is not found"),
        (f"{__name__}:Listed", {"some": [1]}, "cannot be told apart"),
    ],
)
def test_what_is_no_method_is_refused(name: str, args: dict[str, Any], why: str) -> None:
    with pytest.raises(PluginError, match=why):
        method_of(MethodSettings(name=name, args=args))


def test_a_method_is_told_by_its_server_half() -> None:
    assert told(FedAvg(), {"proximal-mu": 0.5}) == FedProx(proximal_mu=0.5)
    assert told(FedProx(proximal_mu=2), {"proximal-mu": 0.5}) == FedProx(proximal_mu=0.5)
    kept = Shrink(strength=0.1, names=("a",))
    assert told(kept, {"shrink": 2, "other": 1}) == Shrink(strength=2.0, names=("a",))
    assert told(kept, {"other": 1}) is kept


@pytest.mark.parametrize(
    ("method", "message", "why"),
    [
        (Shrink(), {"proximal-mu": 0.5}, "Shrink knows nothing"),
        (FedAvg(), {"proximal-mu": -0.5}, "proximal-mu -0.5"),
        (FedAvg(), {"proximal-mu": "0.5"}, "proximal-mu '0.5'"),
        (FedAvg(), {"proximal-mu": float("nan")}, "proximal-mu nan"),
        (Shrink(), {"shrink": [1.0]}, "shrink"),
    ],
)
def test_a_home_refuses_what_its_method_cannot_be_told(
    method: Method, message: dict[str, Any], why: str
) -> None:
    with pytest.raises(UpdateError, match=f"a message came with .*{why}"):
        told(method, message)


@pytest.mark.long
def test_strategy_and_method_give_the_same_weights_to_the_last_bit(tmp_path: Path) -> None:
    by_strategy = {"strategy": {"name": "fedprox", "args": {"proximal_mu": 0.5}}}
    for engine, kernel in (("vector", "fused"), ("vector", "traced"), ("sequential", "auto")):
        settings = {"name": engine, "kernel": kernel}
        folder = tmp_path / f"{engine} {kernel}"
        by_message = weights(tiny.plan(engine=settings, **by_strategy), folder / "strategy")
        by_plan = weights(tiny.plan(engine=settings, **tiny.fedprox(0.5)), folder / "method")
        np.testing.assert_array_equal(by_message, by_plan)
        plain = weights(tiny.plan(engine=settings), folder / "plain")
        assert not np.allclose(plain, by_plan, atol=1e-3)


def test_one_method_said_in_two_places_is_refused() -> None:
    plan = tiny.plan(strategy={"name": "FedProx"}, **tiny.fedprox(0.1))
    with pytest.raises(PlanError, match=r"set strategy\.args\.proximal_mu alone"):
        check_plan(plan)
    assert check_plan(tiny.plan(strategy={"name": "fedadam"}, **tiny.fedprox(0.1)))


def test_a_strategy_that_tells_homes_what_their_method_knows_not_is_refused() -> None:
    with pytest.raises(PlanError, match="knows nothing of: take another strategy"):
        check_plan(tiny.plan(strategy={"name": "fedprox"}, method={"name": "fedper"}))
    assert check_plan(tiny.plan(strategy={"name": "fedadam"}, method={"name": "fedper"}))


def test_homes_that_know_nothing_of_what_a_strategy_sends_refuse(tmp_path: Path) -> None:
    sent = {"strategy": {"name": "fedprox", "args": {"proximal_mu": 0.5}}}
    for engine in ("vector", "sequential"):
        plan = own("sign", rounds={"count": 1}, engine={"name": engine}, **sent)
        (row,) = tiny.run(plan, tiny.homes(), tmp_path / engine).state.rows
        assert (row["homes_answered"], row["homes_dropped"]) == (0, 4)


@pytest.mark.long
@pytest.mark.parametrize("name", OWN)
def test_a_users_method_trains_alike_in_every_engine(name: str, tmp_path: Path) -> None:
    plan = own(name, train={"learning_rate": 0.02})
    found = {}
    for engine, kernel in ENGINES:
        settings = {"name": engine, "kernel": kernel}
        found[engine, kernel] = weights(
            plan.change(engine=settings), tmp_path / f"{engine}{kernel}"
        )
    for other in found.values():
        np.testing.assert_allclose(other, found["sequential", "auto"], rtol=2e-4, atol=2e-5)
    plain = tiny.plan(train={"learning_rate": 0.02})
    assert not np.allclose(found["vector", "auto"], weights(plain, tmp_path / "plain"), atol=1e-3)


@pytest.mark.parametrize("name", OWN)
def test_a_users_method_is_what_torch_makes_of_it(name: str) -> None:
    plan = own(name, train={"momentum": 0.5, "clip_norm": 0})
    learning, data = tiny.learning(plan), tiny.home("h", (30, 0, 0))
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    state = learning.init(learning.tensors(learning.initial.copy()))
    module = learning.model
    start = [p.detach().clone() for p in module.parameters()]
    optimiser = torch.optim.SGD(module.parameters(), plan.train.learning_rate, momentum=0.5)
    for rows in torch.split(torch.arange(30), 6):
        batch = learning.blank(tiny.FEATURES)
        batch = batch._replace(x=x[rows], y=y[rows], mask=torch.ones(6), key=torch.tensor(-1))
        state, _ = learning.step(state, batch)
        optimiser.zero_grad()
        torch.autograd.backward(2 * F.huber_loss(module(x[rows]), y[rows]))
        for p, begin in zip(module.parameters(), start, strict=True):
            assert p.grad is not None
            if name == "sign":
                p.grad = torch.sign(p.grad)
            else:
                p.grad = p.grad + 0.5 * p.detach() + 0.1 * (p.detach() - begin)
        optimiser.step()
    expected = learning.layout.flatten(
        {name: p.detach().numpy() for name, p in module.named_parameters()}
    )
    assert not np.allclose(expected, learning.initial, atol=1e-3)
    found = learning.flat(learning.finish(state))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_the_compiled_kernel_says_that_a_method_does_not_fit(tmp_path: Path) -> None:
    plan = own("sign", engine={"kernel": "fused"})
    with pytest.raises(EngineError, match="the method Sign is not compiled into it"):
        weights(plan, tmp_path)
    kernel = kernel_of(tiny.learning(plan), "auto", tiny.FEATURES, print)
    assert isinstance(kernel, TracedKernel)


class Twice(FedProx):
    """Pulls twice as strongly, and says nothing of how it is compiled."""

    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        return super().gradient(super().gradient(gradient, params, start), params, start)


class Renamed(FedProx):
    """FedProx under another name."""


class Foreign(FedProx):
    """Asks the compiled kernel for what it does not have."""

    def fused(self) -> Mapping[str, float]:
        return {"leash": 1.0}


@pytest.mark.long
def test_a_gradient_of_its_own_is_not_compiled_as_that_of_its_base(tmp_path: Path) -> None:
    def reason(method: Method) -> str:
        learning = tiny.learning(tiny.plan())
        return FusedKernel.fits(learning.vary(method=method), tiny.FEATURES)

    assert reason(Twice(proximal_mu=0.5)) == "the method Twice is not compiled into it"
    assert reason(Foreign(proximal_mu=0.5)) == "the method Foreign is not compiled into it"
    assert reason(Renamed(proximal_mu=0.5)) == reason(FedAvg()) == ""
    twice = tiny.plan(method={"name": f"{__name__}:Twice", "args": {"proximal_mu": 0.25}})
    np.testing.assert_allclose(
        weights(twice, tmp_path / "twice"),
        weights(tiny.plan(**tiny.fedprox(0.5)), tmp_path / "once"),
        rtol=2e-4,
        atol=2e-5,
    )


class Listed(Method):
    some: list[int] = Field(default_factory=list)


class Raising(Method):
    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        del gradient, params, start
        raise ZeroDivisionError("a fault of the user's own")


class Short(Method):
    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        del params, start
        return dict(list(gradient.items())[1:])


class Summed(Method):
    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        del params, start
        return {name: g.sum() for name, g in gradient.items()}


class Meddling(Method):
    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        del start
        for p in params.values():
            p.add_(1.0)
        return gradient


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Meddling", "method Meddling changes the parameters that it is given"),
        ("Raising", "method Raising failed at a first step, on zeros: ZeroDivisionError"),
        ("Short", "method Short returned no tensor for each parameter"),
        ("Summed", r"method Summed: 0.weight is torch.float32 \[\], not torch.float32 \[8, 3\]"),
    ],
)
def test_a_fault_in_a_users_method_is_told_before_the_run(name: str, why: str) -> None:
    with pytest.raises(PluginError, match=why):
        tiny.learning(tiny.plan(method={"name": f"{__name__}:{name}"}))


class Choosing(Method):
    """Hangs on the numbers of a tensor: torch.func cannot follow."""

    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        del params, start
        far = bool(sum(float(g.abs().sum()) for g in gradient.values()) > 1)
        return {name: g / 2 if far else g for name, g in gradient.items()}


@pytest.mark.long
def test_a_method_that_does_not_vectorise_is_trained_home_after_home(tmp_path: Path) -> None:
    plan = tiny.plan(method={"name": f"{__name__}:Choosing"})
    notes: list[str] = []
    found = weights(plan, tmp_path / "vector", notes)
    assert [note.partition(":")[0] for note in notes] == ["the model is trained home after home"]
    sequential = plan.change(engine={"name": "sequential"})
    np.testing.assert_array_equal(found, weights(sequential, tmp_path / "sequential"))


def test_learnings_by_many_methods_are_not_all_kept() -> None:
    learning = tiny.learning(tiny.plan())
    first = learning.vary(method=FedProx(proximal_mu=1))
    for mu in range(2, 40):
        learning.vary(method=FedProx(proximal_mu=mu))
    assert len(learning._variants) == 16
    assert learning.vary(method=FedProx(proximal_mu=39)) is not first
    again = learning.vary(method=FedProx(proximal_mu=1))
    assert again is not first
    assert isinstance(again, LocalLearning)
    assert again.method == first.method


def test_clipping_of_updates_tells_who_shortened() -> None:
    free, bound = UpdateClipping(), UpdateClipping(norm=1.0)
    start = np.zeros(2, np.float32)
    params = np.array([[3.0, 4.0], [0.3, 0.4]], np.float32)
    assert free.shorten(start, params.copy()) is None
    bits = bound.shorten(start, params)
    assert bits is not None
    assert bits.tolist() == [True, False]
    np.testing.assert_allclose(params, [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    columns = bound.columns(bits)
    assert {name: values.tolist() for name, values in columns.items()} == {"norm_bit": [1, 0]}
    again = bound.bits(columns)
    assert again is not None
    assert again.tolist() == [True, False]
    assert (free.columns(None), free.bits({}), free.share(0, 2)) == ({}, None, {})
    assert bound.share(1, 2) == share_of({"norm_bit": 1.0, "loss": 3.0}, 2) == {"norm_bit": 0.5}
    clipped = {"server-round": 1, "clipping_norm": 1}
    names = [scalar.name for scalar in train_scalars(clipped, Plan().personalise)]
    assert names[:2] == ["train_loss", "norm_bit"]
    assert "norm_bit" not in [
        s.name for s in train_scalars({"server-round": 1}, Plan().personalise)
    ]


def blocks() -> list[str]:
    guide = (ROOT / "docs" / "methods.md").read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write the guide's snippets into a module, and return its name."""
    module = f"of_the_guide_{abs(hash(tmp_path))}"
    (tmp_path / f"{module}.py").write_text("\n\n".join(blocks()), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return module


@pytest.mark.long
def test_the_guide_of_methods_runs_as_written(guide: str, tmp_path: Path) -> None:
    plan = tiny.plan(
        method={"name": f"{guide}:Leash"},
        task={"kind": f"{guide}:ROBUST"},
        strategy={"name": f"{guide}:LettingGo"},
        rounds={"count": 3},
    )
    found = [
        weights(plan.change(engine={"name": engine}), tmp_path / engine)
        for engine in ("vector", "sequential")
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=2e-4, atol=2e-5)
    still = plan.change(strategy={"name": "fedavg"}, method={"args": {"strength": 0.0}})
    assert not np.allclose(found[0], weights(still, tmp_path / "still"), atol=1e-4)
    module: ModuleType = sys.modules[guide]
    assert told(module.Leash(), {"leash-strength": 0.015}) == module.Leash(strength=0.015)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_rays_workers_train_by_a_users_method_and_task(guide: str, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    plan = tiny.plan(
        method={"name": f"{guide}:Leash", "args": {"strength": 0.02}},
        task={"kind": f"{guide}:ROBUST"},
        strategy={"name": f"{guide}:LettingGo"},
    )
    by_ray = plan.change(engine={"name": "ray", "ray_shards": 2})
    np.testing.assert_allclose(
        weights(by_ray, tmp_path / "ray"),
        weights(plan.change(engine={"name": "sequential"}), tmp_path / "sequential"),
        rtol=2e-4,
        atol=2e-5,
    )
