"""Flower's own simulation on Ray, with an app as Flower's users write it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import Tensor

from fedhome.errors import EngineError
from fedhome.simulations.benchmarks.measure import (
    BenchmarkCase,
    Measurement,
    NotHereError,
    RoundClock,
)
from fedhome.simulations.benchmarks.plain import network, train_client
from fedhome.simulations.benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from numpy.typing import NDArray


@cache
def _partition(workload: str, number: int) -> tuple[Tensor, Tensor]:
    x, y = WORKLOADS[workload].client(number)
    return torch.from_numpy(x), torch.from_numpy(y)


def client_app(workload: str) -> ClientApp:
    """Return the ClientApp; it keeps a client's rows once they were read.

    Args:
        workload: Name of the workload.
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        number, settings = int(context.node_config["partition-id"]), WORKLOADS[workload]
        model = network_once(workload)
        model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        x, y = _partition(workload, number)
        round_number = message.content.config_records["config"]["server-round"]
        assert isinstance(round_number, int)
        order = torch.from_numpy(settings.order(number, round_number))
        train_client(model, settings, x, y, order)
        content = RecordDict(
            {
                "arrays": ArrayRecord(model.state_dict()),
                "metrics": MetricRecord({"num-examples": len(x)}),
            }
        )
        return Message(content=content, reply_to=message)

    return app


@cache
def network_once(workload: str) -> torch.nn.Sequential:
    """Return the workload's MLP, built once in each of Ray's processes."""
    return network(WORKLOADS[workload])


class _Timed(FedAvg):
    """FedAvg that notes when a round ends, and the parameters after one of them."""

    def __init__(self, clock: RoundClock, case: BenchmarkCase) -> None:
        # Without min_train_nodes the first round asks as many clients as have registered by
        # then: nodes of the simulation come one by one.
        super().__init__(
            fraction_evaluate=0.0, min_train_nodes=case.clients, min_available_nodes=case.clients
        )
        self.params: NDArray[np.float32] = case.workload.initial()
        self.lost: list[str] = []
        self._clock, self._case = clock, case

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        came = list(replies)
        errors = [message.error.reason for message in came if message.has_error()]
        silent = self._case.clients - len(came)
        if errors or silent:
            why = f" ({errors[0]})" if errors else ""
            self.lost.append(f"{len(errors)} failed{why}, {silent} silent in round {server_round}")
        arrays, metrics = super().aggregate_train(server_round, came)
        self._clock.round_ended()
        if server_round == self._case.checked:
            assert arrays is not None
            self.params = np.concatenate([array.numpy().ravel() for array in arrays.values()])
        return arrays, metrics


def flower_ray(case: BenchmarkCase) -> Measurement:
    """Simulate with one Ray actor a core."""
    if importlib.util.find_spec("ray") is None:
        raise NotHereError('Ray is not installed: pip install "flwr[simulation]"')
    clock = RoundClock(cpu=False)
    strategy = _Timed(clock, case)
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        del context
        arrays = ArrayRecord(network(case.workload).state_dict())
        strategy.start(grid=grid, initial_arrays=arrays, num_rounds=case.rounds)

    run_simulation(
        server_app=server,
        client_app=client_app(case.workload.name),
        num_supernodes=case.clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    if strategy.lost:
        raise EngineError(
            f"Flower lost some of {case.clients} clients: {'; '.join(strategy.lost)}",
            hint="its models cannot be compared: run it again, or with fewer clients",
        )
    return clock.measured(strategy.params)
