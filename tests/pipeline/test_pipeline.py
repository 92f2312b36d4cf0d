"""A network over devices of a home: planned by hand, equal to the whole, and with one gone."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedhome.errors import (
    LayoutError,
    ModelError,
    PipelineError,
    PlanError,
    StateError,
    WireError,
)
from fedhome.models.cut_slices import FinishedModel
from fedhome.ops.tls import KEY
from fedhome.pipeline.device_table import HomeDevice, read_devices
from fedhome.pipeline.home_keys_folder import TOKEN, make_keys
from fedhome.pipeline.layer_slice import Floats, LayerSlice, layers_of, widths_of
from fedhome.pipeline.part_messages import (
    BACKWARD,
    FORWARD,
    GIVE,
    LOAD,
    FloatTable,
    PartRequest,
    layers_in,
    packed,
)
from fedhome.pipeline.part_server import MOST_CONNECTIONS, PartServer, _answered, _Part
from fedhome.pipeline.pipeline_run import PipelineRun, RemotePart
from fedhome.pipeline.split_plan import SplitPlan, bytes_of, split
from helpers.json_guide import checked

WIDTHS = (5, 16, 16, 12, 2)
FEDHOME = Path(sys.executable).parent / "fedhome"


def _device(name: str, memory: int = 1 << 20, address: str = "", **rest: Any) -> HomeDevice:
    given = {"operations_per_s": 1e6, "latency_us": 100.0, "bytes_per_s": 1e6, **rest}
    return HomeDevice(name=name, address=address, memory_bytes=memory, **given)


def _network(seed: int = 1, widths: tuple[int, ...] = WIDTHS) -> dict[str, Floats]:
    drawn = np.random.default_rng(seed)
    found: dict[str, Floats] = {}
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        weight = drawn.normal(size=(outputs, inputs)) / np.sqrt(inputs)
        found[f"{2 * number}.weight"] = weight.astype(np.float32)
        found[f"{2 * number}.bias"] = drawn.normal(size=outputs).astype(np.float32) / 10
    return found


def _whole(parameters: dict[str, Floats]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for weight, _ in layers_of(parameters):
        layers += [nn.Linear(weight.shape[1], weight.shape[0]), nn.ReLU()]
    module = nn.Sequential(*layers[:-1])
    module.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in parameters.items()})
    return module


def _rows(count: int = 7) -> Floats:
    return np.random.default_rng(2).normal(size=(count, WIDTHS[0])).astype(np.float32)


def _small_devices(*addresses: str) -> list[HomeDevice]:
    """Return devices none of which holds the network, but all together do."""
    return [
        _device(f"d{n}", bytes_of(WIDTHS, 1, 2, rows=7, trains=True) + 600, address)
        for n, address in enumerate(addresses)
    ]


def _plan(*addresses: str) -> SplitPlan:
    return split(WIDTHS, _small_devices(*addresses), rows=7, trains=True)


def test_bytes_and_times_are_those_by_hand() -> None:
    # 2 -> 3 -> 1: 9 + 4 parameters; a row has at most 2 + 3 numbers at once, 5 + 4 in training.
    assert bytes_of((2, 3, 1), 0, 2, rows=10) == 4 * (13 + 10 * 5)
    assert bytes_of((2, 3, 1), 0, 2, rows=10, trains=True) == 4 * (2 * 13 + 10 * 9)
    far = _device("far", address="far:1", operations_per_s=9e6)
    (part,) = split((2, 3, 1), [far]).parts
    assert part.compute_us == pytest.approx(1.0)  # nine multiplications
    assert part.travel_us == pytest.approx(200 + 12)  # there and back, and three numbers


def test_one_device_that_holds_all_and_is_here_carries_all() -> None:
    found = split(
        WIDTHS,
        [
            _device("far", address="far:1", operations_per_s=1e9),
            _device("here", operations_per_s=1e7),
        ],
    )
    assert [(part.device.name, part.first, part.end) for part in found.parts] == [("here", 0, 4)]


@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    memory=st.lists(st.integers(20, 900), min_size=1, max_size=3),
    latency=st.lists(st.floats(0, 50), min_size=3, max_size=3),
    speed=st.lists(st.floats(1e5, 1e7), min_size=3, max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_no_split_is_faster_than_the_one_that_is_planned(
    widths: list[int], memory: list[int], latency: list[float], speed: list[float]
) -> None:
    devices = [
        _device(f"d{n}", m, f"h:{n}" if n else "", latency_us=t, operations_per_s=s)
        for n, (m, t, s) in enumerate(zip(memory, latency, speed, strict=False))
    ]
    times = []
    layers = len(widths) - 1
    for order in (p for k in range(1, len(devices) + 1) for p in permutations(devices, k)):
        for cuts in _cuts(layers, len(order)):
            total = 0.0
            for device, (first, end) in zip(order, cuts, strict=True):
                if bytes_of(widths, first, end) > device.memory_bytes:
                    break
                total += sum(a * b for a, b in list(pairwise(widths))[first:end]) / (
                    device.operations_per_s / 1e6
                )
                if device.address:
                    total += 2 * device.latency_us + 4.0 * (widths[first] + widths[end])
            else:
                times.append(total)
    if not times:
        with pytest.raises(ModelError, match="these devices do not hold the network"):
            split(widths, devices)
        return
    found = split(widths, devices)
    assert found.row_us == pytest.approx(min(times), rel=1e-9, abs=1e-9)
    assert [part.first for part in found.parts[1:]] == [part.end for part in found.parts[:-1]]


def _cuts(layers: int, parts: int, first: int = 0) -> Iterator[tuple[tuple[int, int], ...]]:
    if parts == 1:
        if first < layers:
            yield ((first, layers),)
        return
    for end in range(first + 1, layers):
        for rest in _cuts(layers, parts - 1, end):
            yield ((first, end), *rest)


def test_a_table_of_devices_tells_all_its_faults(tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    line = 'memory_bytes = 9000\noperations_per_s = 1e6\n[[devices]]\nname = "hub"\n'
    file.write_text(f'[[devices]]\nname = "hub"\n{line}{line.partition("[[")[0]}')
    with pytest.raises(PlanError) as caught:
        read_devices(file)
    told = str(caught.value)
    assert "two devices are called hub" in told
    assert "have no address" in told
    file.write_text('[[devices]]\nname = "hub"\nmemory_bytes = 0\n')
    with pytest.raises(PlanError) as caught:
        read_devices(file)
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "devices.0.memory_bytes",
        "devices.0.operations_per_s",
    ]
    file.write_text("devices = []\n")
    with pytest.raises(PlanError, match="at least 1 item"):
        read_devices(file)
    with pytest.raises(PlanError, match="there is no such file") as caught:
        read_devices(file.with_name("nowhere.toml"))
    assert "docs/pipeline.md" in (caught.value.hint or "")


def test_parts_predict_and_train_as_the_whole_does() -> None:
    parameters, x = _network(), _rows()
    y = np.random.default_rng(3).normal(size=(7, 2)).astype(np.float32)
    module = _whole(parameters)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    with PipelineRun(_plan("", "a:1", "b:1", "c:1"), parameters) as run:
        assert len(run.parts) > 2
        for _ in range(5):
            output = run.train_step(x, lambda out: 2 * (out - y) / y.size, 0.1)
            made = module(torch.from_numpy(x))
            np.testing.assert_allclose(output, made.detach().numpy(), atol=2e-6)
            optimiser.zero_grad()
            nn.functional.mse_loss(made, torch.from_numpy(y)).backward()
            optimiser.step()
        trained = run.parameters()
    assert list(trained) == list(parameters)
    for name, one in module.state_dict().items():
        np.testing.assert_allclose(trained[name], one.numpy(), atol=2e-6)
        assert np.abs(trained[name] - parameters[name]).max() > 1e-3


def test_what_is_no_network_of_layers_is_refused() -> None:
    parameters = _network()
    with pytest.raises(LayoutError, match="no plain multilayer perceptron"):
        layers_of({name: parameters[name] for name in list(parameters)[:3]})
    with pytest.raises(ModelError, match="other widths"):
        PipelineRun(split((5, 2), [_device("here")]), parameters)
    part = LayerSlice(layers_of(parameters), last=True)
    with pytest.raises(ModelError, match="reads 5 numbers"):
        part.forward(np.zeros((2, 4), np.float32))
    with pytest.raises(ModelError, match="for other rows"):
        part.backward(np.zeros((2, 2), np.float32), 0.1)
    assert widths_of(part.layers) == WIDTHS


_ROOM = 1 << 20
_SIZES = st.integers(0, 2)
_LAYERS = st.lists(st.tuples(_SIZES, _SIZES), max_size=3).map(
    lambda sizes: [shape for out, into in sizes for shape in ((out, into), (out,))]
)
_SHAPES = _LAYERS | st.lists(st.tuples(_SIZES) | st.tuples(_SIZES, _SIZES), max_size=4)
_TABLES = _SHAPES.map(lambda some: packed([np.ones(one, np.float32) for one in some]))


@given(
    loaded=_TABLES,
    asked=st.tuples(_SIZES, _SIZES).map(lambda one: packed([np.ones(one, np.float32)])) | _TABLES,
    last=st.integers(0, 1),
    what=st.sampled_from([LOAD, FORWARD, BACKWARD, GIVE, "bake"]),
)
def test_a_device_answers_whatever_comes_with_a_word_and_no_end(
    loaded: tuple[FloatTable, ...], asked: tuple[FloatTable, ...], last: int, what: str
) -> None:
    part, rate = _Part(_ROOM), struct.pack("<d", 0.1)
    for one, numbers in ((LOAD, loaded), (FORWARD, asked), (what, asked)):
        request = PartRequest(what=one, last=last, rate=rate, numbers=numbers)
        _answered(part, PartRequest.from_bytes(request.to_bytes()))


def test_a_table_without_numbers_has_no_endless_rows() -> None:
    with pytest.raises(WireError):
        FloatTable.from_bytes(FloatTable(rows=0, columns=1 << 62, data=b"").to_bytes())


def test_a_layer_reads_what_the_one_before_it_makes() -> None:
    arrays = [np.ones(shape, np.float32) for shape in ((4, 3), (4,), (1, 5), (1,))]
    with pytest.raises(WireError, match="layers came that are none"):
        layers_in(arrays)
    arrays[2] = arrays[2][:, :4]
    assert len(layers_in(arrays)) == 2


@contextmanager
def _served(keys: Path, count: int) -> Iterator[list[tuple[subprocess.Popen[str], str]]]:
    """Run devices in processes of their own, each at a port of its own."""
    command = [str(FEDHOME), "pipeline", "serve", str(keys), "--port", "0"]
    devices = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        found = []
        for process in devices:
            assert process.stdout is not None
            address = re.fullmatch(r"listening at (\S+)\n", process.stdout.readline())
            assert address is not None
            found.append((process, address[1]))
        yield found
    finally:
        for process in devices:
            process.kill()
            process.communicate()


@pytest.mark.long
def test_over_tls_parts_are_the_whole_and_a_smaller_slice_answers_when_one_is_killed(
    tmp_path: Path,
) -> None:
    keys, parameters, x = tmp_path / "keys", _network(), _rows()
    smaller = _network(9, (5, 4, 2))
    make_keys(keys, ["127.0.0.1"])
    with _served(keys, 3) as devices:
        plan = _plan("", *(address for _, address in devices))
        processes = {address: process for process, address in devices}
        with PipelineRun(plan, parameters, keys=keys, smaller=smaller) as run:
            expected = _whole(parameters)(torch.from_numpy(x)).detach().numpy()
            first = run.answer(x)
            assert first.whole
            np.testing.assert_allclose(first.output, expected, atol=2e-6)
            with PipelineRun(plan, parameters) as here:
                for one in (run, here):
                    one.train_step(x, lambda out: out, 0.05)
                for name, array in run.parameters().items():
                    np.testing.assert_array_equal(array, here.parameters()[name])
            gone = next(part.device for part in reversed(plan.parts) if part.device.address)
            processes[gone.address].send_signal(signal.SIGKILL)
            processes[gone.address].wait()
            with pytest.raises(PipelineError, match="does not answer") as caught:
                run.train_step(x, lambda out: out, 0.05)
            assert caught.value.device == gone.name
            second = run.answer(x)
            assert not second.whole
            assert f"device {gone.name}" in second.note
            small = _whole(smaller)(torch.from_numpy(x)).detach().numpy()
            np.testing.assert_allclose(second.output, small, atol=2e-6)
        with pytest.raises(PipelineError, match="does not answer"):
            PipelineRun(plan, parameters, keys=keys)


@pytest.mark.long
def test_strangers_take_a_devices_places_and_no_more_and_give_them_back(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    make_keys(keys, ["127.0.0.1"])
    with _served(keys, 1) as [(_, address)]:
        host, _, port = address.rpartition(":")
        with ExitStack() as open_:
            for _ in range(MOST_CONNECTIONS):
                open_.enter_context(socket.create_connection((host, int(port)), timeout=60))
            one_more = open_.enter_context(socket.create_connection((host, int(port)), timeout=60))
            assert one_more.recv(1) == b"", "it is hung up on"
        device, layers = _device("there", address=address), layers_of(_network())
        until = time.monotonic() + 60
        while True:
            try:
                part = RemotePart(device, layers, last=True, keys=keys)
                assert part.forward(_rows()).shape == (len(_rows()), WIDTHS[-1])
                part.close()
                break
            except PipelineError:
                assert time.monotonic() < until, "no place was given back"


@pytest.mark.long
def test_a_device_of_another_home_is_refused_and_refuses(tmp_path: Path) -> None:
    ours, theirs, parameters = tmp_path / "ours", tmp_path / "theirs", _network()
    make_keys(ours, ["127.0.0.1"])
    make_keys(theirs, ["127.0.0.1"])
    with pytest.raises(StateError, match="has keys already"):
        make_keys(ours, ["127.0.0.1"])
    with _served(ours, 1) as ((_, address),):
        plan = split(WIDTHS, [_device("far", address=address)])
        with PipelineRun(plan, parameters, keys=ours) as run:  # the control
            assert run.predict(_rows()).shape == (7, 2)
        with pytest.raises(PipelineError, match="SSLCertVerificationError"):
            PipelineRun(plan, parameters, keys=theirs)
        (theirs / "ca.pem").write_bytes((ours / "ca.pem").read_bytes())
        with pytest.raises(PipelineError, match="the secret of another home"):
            PipelineRun(plan, parameters, keys=theirs)
        wider = split((7, 2), [_device("far", address=address)])
        odd = {"0.weight": np.ones((2, 7), np.float32), "0.bias": np.ones(2, np.float32)}
        with (
            PipelineRun(wider, odd, keys=ours) as run,
            pytest.raises(PipelineError, match="far refuses: rows of shape"),
        ):
            run.predict(_rows())
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as plain:
            plain.sendall((ours / TOKEN).read_bytes())  # not over TLS
            received = b""
            with suppress(ConnectionResetError):
                received = plain.recv(1)
            assert received != b"\1"
        context = ssl.create_default_context()
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(plain, server_hostname=host)


@pytest.mark.parametrize("name", [TOKEN, KEY])
def test_keys_that_others_may_read_are_refused(tmp_path: Path, name: str) -> None:
    """They are copied to devices by hand, and were used as they lay there."""
    make_keys(tmp_path / "keys", ["127.0.0.1"])
    PartServer(tmp_path / "keys", host="127.0.0.1", port=0).server_close()  # the control
    (tmp_path / "keys" / name).chmod(0o644)
    with pytest.raises(StateError, match="can be read by others"):
        PartServer(tmp_path / "keys", host="127.0.0.1", port=0)


def test_a_slice_of_a_sliced_model_goes_through_a_pipeline_too() -> None:
    drawn = np.random.default_rng(5)
    shapes = {"layers.0": (8, 5), "layers.1": (8, 8), "exits.1": (2, 4), "exits.2": (2, 8)}
    model = {
        f"{name}.{part}": drawn.normal(size=shape if part == "weight" else shape[:1]).astype("f4")
        for name, shape in shapes.items()
        for part in ("weight", "bias")
    }
    finished = FinishedModel(model, ((4,), (8, 8)))
    whole, small = finished.cut((8, 8)), finished.cut((4,))
    plan = split((5, 8, 8, 2), [_device("here"), _device("far", address="a:1")])
    with PipelineRun(plan, whole, smaller=small) as run:
        np.testing.assert_allclose(
            run.predict(_rows()),
            _whole(dict(whole))(torch.from_numpy(_rows())).detach().numpy(),
            rtol=1e-5,
            atol=1e-5,
        )


def test_the_plan_is_printed_and_says_when_it_is_the_wrong_choice(tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    file.write_text(
        '[[devices]]\nname = "hub"\nmemory_bytes = 20000\noperations_per_s = 1e9\n'
        '[[devices]]\nname = "plug"\naddress = "plug:7077"\nmemory_bytes = 20000\n'
        "operations_per_s = 1e8\n"
    )

    def typed(*more: str) -> str:
        command = [str(FEDHOME), "pipeline", "plan", str(file), *more]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        return done.stdout + done.stderr

    told = typed("--model", "23-64-64-1")
    assert "hub" in told
    assert "plug" in told
    assert "most of that is the home's network" in told
    assert "hub carries the whole network" in typed("--model", "23-16-1")
    assert "do not hold the network" in typed("--model", "23-640-1")
    assert "neither a folder of a run nor widths" in typed("--model", "nothing")
    shown = checked("pipeline plan", typed("--model", "23-64-64-1", "--json"))
    assert [part["device"] for part in shown["parts"]] == ["hub", "plug"]
    assert shown["parts"][0]["widths"] == [23, 64]
    assert shown["row_us"] > 1000
