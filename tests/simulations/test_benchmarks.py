"""The benchmarks compute what they say; how fast they are is no test's business."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from torch import nn

from fedhome.errors import EngineError, PluginError, SourceError
from fedhome.learning.build import learning_of
from fedhome.plan.settings import Plan
from fedhome.simulations.benchmarks import compared_methods
from fedhome.simulations.benchmarks.deployment import each, hour, steps
from fedhome.simulations.benchmarks.host_share import IdleKernel, rounds_ms
from fedhome.simulations.benchmarks.measure import BenchmarkCase, Measurement, RoundClock, run_here
from fedhome.simulations.benchmarks.overhead import ARITHMETIC, spent
from fedhome.simulations.benchmarks.plain import network
from fedhome.simulations.benchmarks.privacy_skill import plan_of, run
from fedhome.simulations.benchmarks.speed import Standing, check_same
from fedhome.simulations.benchmarks.stopwatch import Stopwatch, TimedFunction, timing
from fedhome.simulations.benchmarks.tap import Tap, TappedLines, TappedTraffic
from fedhome.simulations.benchmarks.workloads import L, S, Workload
from fedhome.simulations.engines.kernels import KERNELS
from fedhome.simulations.gather import gather

TINY = {
    "S": replace(S, rows=20, clients=3, batch_size=8),
    "L": replace(L, rows=12, clients=3, batch_size=8),
}


@pytest.fixture(params=["S", "L"])
def workload(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Workload:
    tiny = TINY[request.param]
    # The plan's data source finds the workload by its name in the module.
    monkeypatch.setattr(f"fedhome.simulations.benchmarks.workloads.{tiny.name}", tiny)
    return tiny


def test_homes_hold_the_same_training_rows_as_clients(workload: Workload) -> None:
    plan = workload.plan(clients=3, rounds=1)
    for number, home in enumerate(gather(plan).homes):
        x, y = workload.client(number)
        rows = home.rows("train")
        assert home.counts == (workload.rows, 1, 1)
        np.testing.assert_array_equal(home.x[rows], x)
        np.testing.assert_array_equal(home.y[rows], y)
        assert home.y.dtype == y.dtype


def test_a_clients_order_is_a_permutation_that_changes_with_the_round() -> None:
    first, second = S.orders([4, 5], 1), S.orders([4, 5], 2)
    np.testing.assert_array_equal(np.sort(first, axis=1), [np.arange(S.rows)] * 2)
    np.testing.assert_array_equal(first[1], S.order(5, 1))
    assert (first != second).any(axis=1).all()


def test_mean_loss_is_that_of_torch(workload: Workload) -> None:
    loss_of = nn.functional.mse_loss if workload.loss == "mse" else nn.functional.cross_entropy
    model = network(workload)
    expected = []
    for number in range(3):
        x, y = (torch.from_numpy(array) for array in workload.client(number))
        expected.append(float(loss_of(model(x), y).detach()))
    assert workload.mean_loss(workload.initial(), 3) == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.long
def test_plain_loop_and_every_kernel_learn_the_same(workload: Workload) -> None:
    case = BenchmarkCase(workload=workload, clients=3, rounds=2, checked=2)
    names = ("plain", "fedhome-fused", "fedhome-traced", "fedhome-eager")
    measured = {name: run_here(name, case) for name in names}
    check_same(case, {name: found.params for name, found in measured.items()})
    start = workload.mean_loss(workload.initial(), 3)
    for found in measured.values():
        assert len(found.seconds) == case.rounds - 1
        assert workload.mean_loss(found.params, 3) < start


def test_a_contender_that_learns_less_is_refused() -> None:
    workload = TINY["S"]
    case = BenchmarkCase(workload=workload, clients=3, rounds=2, checked=2)
    params = run_here("plain", case).params
    lazy = workload.initial() + np.float32(0.998) * (params - workload.initial())
    with pytest.raises(EngineError, match="lazy and plain have not learnt the same"):
        check_same(case, {"plain": params, "lazy": lazy})
    with pytest.raises(EngineError, match="broken and plain"):
        check_same(case, {"plain": params, "broken": np.full_like(params, np.nan)})


def test_speeds_are_compared_within_a_repeat() -> None:
    def standing(*speeds: float) -> Standing:
        return Standing(name="", updates_per_s=np.array(speeds), cpu_ms=np.zeros(0), loss=0.0)

    # The machine was ten times slower in the second repeat, for both.
    assert standing(300.0, 30.0, 400.0).times(standing(100.0, 10.0, 100.0)) == 3.0
    assert standing(1.0).times(None) is None


def test_first_round_is_not_measured() -> None:
    clock = RoundClock()
    for _ in range(3):
        clock.round_ended()
    measured: Measurement = clock.measured(np.zeros(1, np.float32))
    assert measured.seconds.shape == measured.cpu_s.shape == (2,)
    assert RoundClock(cpu=False)._cpu is False


def test_stopwatch_leaves_to_the_inner_what_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("fedhome.simulations.benchmarks.stopwatch.time.thread_time", lambda: now)

    def inner() -> None:
        nonlocal now
        now += 3.0

    def outer(room: SimpleNamespace) -> None:
        nonlocal now
        now += 1.0
        room.inner()
        now += 1.0

    room = SimpleNamespace(inner=inner, outer=outer)
    watch = Stopwatch()
    with timing(watch, [TimedFunction("in", room, "inner"), TimedFunction("out", room, "outer")]):
        room.outer(room)
        worker = threading.Thread(target=room.inner)
        worker.start()
        worker.join()
    assert watch.cpu_s == {"in": 6.0, "out": 2.0}
    assert room.inner is inner
    assert room.outer is outer


@pytest.mark.long
@pytest.mark.parametrize("mode", ["sums", "updates"])
def test_parts_of_the_overhead_add_up(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedhome.simulations.benchmarks.workloads.S", TINY["S"])
    found = spent(TINY["S"], clients=3, rounds=3, mode=mode)  # type: ignore[arg-type]
    assert sum(found.parts_ms.values()) == pytest.approx(found.total_ms)
    assert found.parts_ms[ARITHMETIC] > 0.0
    assert found.overhead_ms == pytest.approx(found.total_ms - found.parts_ms[ARITHMETIC])


@pytest.mark.parametrize("works_on", ["sums", "updates"])
def test_rounds_beside_an_idle_gpu_go_its_way(
    works_on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, train = [], IdleKernel.train_there

    def noted(kernel: IdleKernel, params: torch.Tensor, *given: Any, **named: Any) -> Any:
        trained.append(params.shape[0])
        return train(kernel, params, *given, **named)

    monkeypatch.setattr(IdleKernel, "train_there", noted)
    assert len(rounds_ms(7, rounds=3, works_on=works_on)) == 2
    assert trained == [7, 7, 7], "all homes of a round at once, and nowhere else"
    assert KERNELS["onchip"] is not IdleKernel


def test_initial_weights_are_the_plans() -> None:
    learning = learning_of(S.plan(clients=1, rounds=1), 10)
    np.testing.assert_array_equal(S.initial(), learning.initial)
    shapes = [array.shape for layer in S.layers(S.initial()) for array in layer]
    assert tuple(shapes) == learning.layout.shapes


def nothing(plan: Plan) -> list[object]:
    del plan
    return []


def numbers(plan: Plan) -> list[object]:
    return [plan.seed]


def test_a_source_of_ones_own_is_called_with_the_plan() -> None:
    plan = S.plan(clients=2, rounds=1)
    assert [home.home for home in gather(plan).homes] == ["home-00000", "home-00001"]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (f"{__name__}:nothing", SourceError, "yields no home"),
        (f"{__name__}:numbers", SourceError, "yields int"),
        (f"{__name__}:__doc__", SourceError, "is not callable"),
        (f"{__name__}:absent", PluginError, "is not found"),
    ],
)
def test_a_source_that_is_none_is_refused(
    source: str, error: type[Exception], message: str
) -> None:
    plan = S.plan(clients=2, rounds=1).change(data={"source": source})
    with pytest.raises(error, match=message):
        gather(plan)


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
def test_requests_are_found_in_pieces_of_any_size(size: int) -> None:
    sent = (
        b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: a\r\n\r\nPOST /no-request\r\n"
        b"POST /v1/fleet/push-object HTTP/1.1\r\ncontent-length: 300\r\n\r\n"
        + bytes(300)
        + b"GET /health HTTP/1.1\r\n\r\n"
    )
    lines = TappedLines()
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    found = [path for piece in pieces for path in lines.paths(piece)]
    assert found == ["/v1/fleet/pull-messages", "/v1/fleet/push-object", "/health"]


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(2 * len(body)))
        self.end_headers()
        self.wfile.write(2 * body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _echo() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.long
def test_a_tap_counts_what_it_passes_on() -> None:
    body = bytes(range(256)) * 1000
    begin = datetime.now(UTC).timestamp() - 1
    with _echo() as port, Tap(to=port) as tap:
        with httpx.Client(base_url=f"http://127.0.0.1:{tap.port}") as client:
            for path in ("/a", "/b", "/a"):
                answer = client.post(path, content=body)
                assert answer.content == 2 * body
            heads = 3 * len(answer.request.method)
        counted = tap.between(begin, begin + 3600)
        nothing = tap.between(begin - 3600, begin)
    assert counted.requests == {"/a": 2, "/b": 1}
    assert 3 * len(body) + heads < counted.up < 3 * len(body) + 2000
    assert 6 * len(body) < counted.down < 6 * len(body) + 2000
    assert nothing == TappedTraffic(up=0, down=0, requests={})


def test_traffic_of_a_round_and_home() -> None:
    told = TappedTraffic(up=1200, down=600, requests={"/v1/fleet/push-object": 24, "/health": 6})
    assert each(told, homes=3, rounds=2) == {
        "requests": 5,
        "- push-object": 4,
        "- /health": 1,
        "bytes up": 200,
        "bytes down": 100,
    }
    assert hour(told, homes=3)["- push-object"] == 60 * 8
    assert hour(told, homes=3)["bytes up"] == 60 * 400


def test_an_agents_steps_are_read_from_its_log() -> None:
    begin = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

    def line(after_s: float, text: str) -> str:
        when = (begin + timedelta(seconds=after_s)).astimezone()
        return f"{when:%Y-%m-%d %H:%M:%S},{when.microsecond // 1000:03d} {text}"

    log = [
        line(-1, "INFO train is answered: in 9.000 s"),  # in the first round
        line(1, "INFO train came: fetched in 0.250 s"),
        line(2.5, "INFO train is answered: in 0.500 s"),
        line(3, "INFO train is sent: in 0.125 s"),
        line(4, "INFO query.help came: fetched in 0.250 s"),
        line(5, "INFO connected to localhost:1 as node 3"),
        line(10.001, "INFO query.help is answered: in 9.000 s"),  # after the last one
    ]
    found = steps(
        ["\n".join(log), "\n".join(log[:3])],
        begin=begin.timestamp(),
        end=begin.timestamp() + 10,
        rounds=2,
    )
    assert found == {"fetched": 0.1875, "sent": 0.03125, "train answered": 0.25}


@pytest.mark.long
def test_skill_with_noise_is_measured_on_the_model_that_a_run_ends_with() -> None:
    plans = [plan_of(8, epsilon, (), rounds=2, clip=3.0, seed=1) for epsilon in ("none", "1e6")]
    without, hardly = map(run, plans)
    assert (without.epsilon, without.noise_length) == ("none", 0.0)
    assert (hardly.epsilon, hardly.parameters) == ("1e+06", 24)
    assert 0 < hardly.noise_length < 1e-2
    assert hardly.mean == pytest.approx(without.mean, abs=0.01)
    assert run(plan_of(8, "1", (), rounds=2, clip=3.0, seed=1)).mean < without.mean - 0.1


def test_a_method_s_settings_are_chosen_on_validation_rows() -> None:
    def run(seed: int, sets: Sequence[str], validation: float, test: float) -> dict[str, Any]:
        homes = {f"home-{place}": test + place / 100 for place in range(6)}
        models = dict.fromkeys(("global", "tuned", "personalised"), homes)
        about = {"set": "robod", "score": "skill", "seed": seed, "sets": list(sets)}
        return {**about, "validation": validation, "models": models}

    one, two = compared_methods.WAYS["fedper"]
    runs = [run(seed, [], 0.5, 0.25 * seed) for seed in (1, 2)]
    runs += [run(1, one, 0.3, 0.25), run(1, two, 0.4, 0.75)]  # the second is better on test rows
    (line,) = [row for row in compared_methods.table(runs).splitlines() if "fedper" in row]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:3] == ["layers=1", "1"]
    assert cells[4] == "0.275/0.255"  # the mean of 0.25 to 0.30, and a tenth of the way
    assert cells[5] == "+0.000 (+0.000 to +0.000)"  # against fedavg with the same seed
    assert "| fedavg |  | 2 | 0.400/0.380 | 0.400/0.380 |  | 0.400/0.380 |" in (
        compared_methods.table(runs)
    )
