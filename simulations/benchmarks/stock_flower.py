"""Stock Flower as a fleet of processes: its SuperLink, SuperNodes and a plain FedAvg app."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx

from fedhome.errors import EngineError
from fedhome.ops.listening import free_port
from fedhome.simulations.benchmarks.tap import Tap, TappedTraffic

_BIN = Path(sys.executable).parent
_HOST, LOG = "127.0.0.1", "log.txt"
_WAIT_S, _RUN_S, _END_S = 60.0, 600.0, 20.0
_PROJECT = """\
[project]
name = "plain"
version = "1.0.0"
description = "FedAvg of arrays that nobody has learnt."
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "benchmark"

[tool.flwr.app.components]
serverapp = "plain.server:app"
clientapp = "plain.client:app"

[tool.flwr.app.config]
homes = 0
size = 0
rounds = 0
out = ""
"""
_SERVER = """\
import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


class Counting(FedAvg):
    answered = None

    def aggregate_train(self, server_round, replies):
        came = [reply for reply in replies if not reply.has_error()]
        self.answered = min(len(came), self.answered or len(came))
        return super().aggregate_train(server_round, came)


@app.main()
def main(grid, context):
    config = context.run_config
    homes, ends = config["homes"], []
    while len(list(grid.get_node_ids())) < homes:
        time.sleep(0.1)

    def ended(number, arrays):
        ends.append(time.time())

    strategy = Counting(
        min_train_nodes=homes, min_evaluate_nodes=homes, min_available_nodes=homes
    )
    start = ArrayRecord([np.zeros(config["size"], np.float32)])
    result = strategy.start(
        grid, start, num_rounds=config["rounds"], timeout=300, evaluate_fn=ended
    )
    mean = float(next(iter(result.arrays.values())).numpy().mean())
    report = {"ends": ends, "mean": mean, "answered": strategy.answered}
    Path(config["out"]).write_text(json.dumps(report))
"""
_CLIENT = """\
import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    start = next(iter(message.content["arrays"].values())).numpy()
    arrays = ArrayRecord([start + np.float32(1)])
    metrics = MetricRecord({"num-examples": 100, "train_loss": 0.5})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message, context):
    metrics = MetricRecord({"num-examples": 100, "loss": 0.5, "score": 0.5})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
"""


@dataclass(frozen=True, kw_only=True)
class Flower:
    """A run of stock Flower.

    Args:
        seconds: Of each round after the first.
        traffic: Over these rounds, of all homes together.
        idle: Of all homes together, in a minute after the run.
    """

    seconds: tuple[float, ...]
    traffic: TappedTraffic
    idle: TappedTraffic


def flower(*, homes: int, size: int, rounds: int, folder: Path) -> Flower:
    """Let stock Flower train a model of one array, with homes that add one to it.

    SuperLink and SuperNodes run with their defaults, but without TLS and authentication.

    Args:
        homes: How many SuperNodes.
        size: Numbers of the array, float32.
        rounds: How many rounds, training and evaluation each.
        folder: An empty folder.

    Raises:
        EngineError: The run failed, or did not learn what it should.
    """
    port, report_path = free_port(), folder / "told.json"
    app = folder / "app"
    (app / "plain").mkdir(parents=True)
    for name, text in (
        ("pyproject.toml", _PROJECT),
        ("plain/__init__.py", ""),
        ("plain/server.py", _SERVER),
        ("plain/client.py", _CLIENT),
    ):
        (app / name).write_text(text, encoding="utf-8")
    (folder / "config.toml").write_text(
        f'[superlink]\ndefault = "ours"\n'
        f'[superlink.ours]\naddress = "{_HOST}:{port}"\ninsecure = true\n',
        encoding="utf-8",
    )
    with ExitStack() as stack:
        start = _starter(stack, folder)
        start("flower-superlink", "--insecure", "--port", str(port))
        _until_healthy(port)
        tap = stack.enter_context(Tap(to=port))
        for _ in range(homes):
            start(
                "flower-supernode",
                "--insecure",
                "--superlink",
                f"{_HOST}:{tap.port}",
                "--port",
                str(free_port()),
            )
        settings = f"homes={homes} size={size} rounds={rounds} out='{report_path}'"
        running = start("flwr", "run", str(app), "--stream", f"--run-config={settings}")
        with suppress(subprocess.TimeoutExpired):
            running.wait(_RUN_S)
        if not report_path.exists():
            raise EngineError(
                "Flower's run failed", hint=(folder / LOG).read_text(encoding="utf-8")[-2000:]
            )
        report = json.loads(report_path.read_text(encoding="utf-8"))
        if report["answered"] != homes or report["mean"] != rounds:
            raise EngineError(f"Flower lost homes: {report}", hint="run it again")
        _, *ends = report["ends"]  # the first is before any round
        passed, idle = tap.between(ends[0], ends[-1]), tap.minute()
    seconds = tuple(after - before for before, after in pairwise(ends))
    return Flower(seconds=seconds, traffic=passed, idle=idle)


def _starter(stack: ExitStack, folder: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Return what starts one of Flower's commands, to be ended with the stack."""
    environment = os.environ | {
        "FLWR_HOME": str(folder),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}",  # it starts its helpers by name
    }
    log = stack.enter_context((folder / LOG).open("w", encoding="utf-8"))

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603 - Flower's own commands
            [_BIN / name, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        stack.callback(_ended, process)
        return process

    return start


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _until_healthy(port: int) -> None:
    """Wait until a SuperLink listens."""
    with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=_WAIT_S) as client:
        client.get(f"http://{_HOST}:{port}/health").raise_for_status()
