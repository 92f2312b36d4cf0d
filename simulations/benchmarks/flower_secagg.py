"""Flower's own SecAgg+, driven in this process: its client mod and its server's workflow.

Nothing of the protocol is ours: every message goes through ``secaggplus_mod`` as it does in a
client, and through ``SecAggPlusWorkflow`` as it does in a server. What is left out is the
transport, for both sides.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.client.mod.secure_aggregation.secaggplus_mod import secaggplus_mod
from flwr.common import (
    Code,
    FitIns,
    FitRes,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.compat.common import recorddict_compat as compat
from flwr.server import ServerConfig, SimpleClientManager
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import SecAggPlusWorkflow
from numpy.typing import NDArray

from fedhome.flower.messages import take_identity

_EXAMPLES = 100  # of every client: a tenth of the greatest weight
_ERROR = 1e-4  # of the mean: one step of 4e-6 a client, over a tenth of the greatest weight
_SETTING_UP = (Stage.SETUP, Stage.SHARE_KEYS)


@dataclass(frozen=True, kw_only=True)
class FlowerCosts:
    """What SecAgg+ cost, in milliseconds of processor time.

    Args:
        keys_ms: A client's key pairs, shares of its secrets and their encryption, ``[clients]``.
        vector_ms: Quantising, masking and serialising a client's vector, ``[clients]``.
        server_ms: The server's part of a round; None where only one client was to send.
        upload_bytes: Bytes of a client's masked vector.
    """

    keys_ms: NDArray[np.float64]
    vector_ms: NDArray[np.float64]
    server_ms: float | None
    upload_bytes: int


def flower_costs(
    elements: int, clients: int, *, absent: int, threshold: float, one_sends: bool = False
) -> FlowerCosts:
    """Run one round of SecAgg+ on the complete graph.

    Args:
        elements: Numbers of a model.
        clients: How many clients share keys.
        absent: How many of them never send their vector.
        threshold: Share of a secret's shares that restores it.
        one_sends: Let one client send its vector and end the round there.

    Raises:
        RuntimeError: The mean is not that of the clients' models.
    """
    take_identity(1)
    sending = 1 if one_sends else clients - absent
    grid = _Clients(elements, clients, sending)
    strategy = _Strategy(list(grid.contexts), elements)
    workflow = SecAggPlusWorkflow(num_shares=1.0, reconstruction_threshold=threshold)
    context = _server_context(strategy)
    with _hushed():
        begin = time.process_time()
        workflow(grid, context)  # type: ignore[arg-type]  # it does no more than send
        spent = time.process_time() - begin
    if not one_sends and not _close(strategy.mean, grid.mean):
        raise RuntimeError("SecAgg+ gave another mean than its clients' models have")
    seconds = grid.spent_s
    keys = sum(np.array(seconds[stage]) for stage in _SETTING_UP)
    return FlowerCosts(
        keys_ms=1e3 * np.asarray(keys),
        vector_ms=1e3 * np.array(seconds[Stage.COLLECT_MASKED_VECTORS]),
        server_ms=None if one_sends else 1e3 * (spent - grid.outside_s),
        upload_bytes=grid.upload_bytes,
    )


def _close(mean: NDArray[np.float64] | None, expected: NDArray[np.float64]) -> bool:
    return mean is not None and float(np.abs(mean - expected).max()) < _ERROR


class _Clients:
    """A grid whose clients answer here; the workflow asks no more of it than to send.

    Args:
        elements: Numbers of a model.
        clients: How many clients.
        sending: How many of them send their vector.
    """

    def __init__(self, elements: int, clients: int, sending: int) -> None:
        self.contexts = {
            node: Context(node, node, {}, RecordDict(), {}) for node in range(2, 2 + clients)
        }
        self._elements, self._sending = elements, set(list(self.contexts)[:sending])
        self.spent_s: dict[str, list[float]] = {stage: [] for stage in Stage.all()}
        self.outside_s = 0.0
        self.upload_bytes = 0
        models = (_model(node, elements).astype(np.float64) for node in self._sending)
        self.mean = sum(models, np.zeros(elements)) / sending
        self._training_s = 0.0

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Let each client answer; what is spent here is not the server's."""
        del timeout
        begin = time.process_time()
        answers = [self._answer(message) for message in messages]
        self.outside_s += time.process_time() - begin
        return answers

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        # One record goes to all clients; each takes the stage out of its own.
        configs = message.content.config_records[RECORD_KEY_CONFIGS]
        own = RecordDict(dict(message.content))
        own[RECORD_KEY_CONFIGS] = ConfigRecord(dict(configs))
        message.content = own
        stage = str(configs[Key.STAGE])
        if stage == Stage.COLLECT_MASKED_VECTORS and node not in self._sending:
            return Message(Error(code=0, reason="absent"), reply_to=message)
        self._training_s = 0.0
        begin = time.process_time()
        answer = secaggplus_mod(message, self.contexts[node], self._train)
        self.spent_s[stage].append(time.process_time() - begin - self._training_s)
        if stage == Stage.COLLECT_MASKED_VECTORS:
            masked: Any = answer.content.config_records[RECORD_KEY_CONFIGS][Key.MASKED_PARAMETERS]
            self.upload_bytes = sum(map(len, masked))
        return answer

    def _train(self, message: Message, context: Context) -> Message:
        begin = time.process_time()
        model = ndarrays_to_parameters([_model(context.node_id, self._elements)])
        result = FitRes(Status(Code.OK, ""), model, _EXAMPLES, {})
        answer = Message(compat.fitres_to_recorddict(result, keep_input=False), reply_to=message)
        self._training_s = time.process_time() - begin
        return answer


def _model(node: int, elements: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(node).normal(0, 0.2, elements)
    return drawn.astype(np.float32)


@dataclass
class _Proxy:
    node_id: int


@dataclass
class _Strategy:
    """The two methods that the workflow calls."""

    nodes: list[int]
    elements: int
    mean: NDArray[np.float64] | None = field(default=None)

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: object
    ) -> list[tuple[_Proxy, FitIns]]:
        del server_round, client_manager
        return [(_Proxy(node), FitIns(parameters, {})) for node in self.nodes]

    def aggregate_fit(
        self, server_round: int, results: list[tuple[_Proxy, FitRes]], failures: object
    ) -> tuple[None, dict[str, Any]]:
        del server_round, failures
        self.mean = parameters_to_ndarrays(results[0][1].parameters)[0]
        return None, {}


def _server_context(strategy: _Strategy) -> LegacyContext:
    context = LegacyContext(
        Context(1, 1, {}, RecordDict(), {}),
        config=ServerConfig(num_rounds=1),
        strategy=strategy,  # type: ignore[arg-type]  # two of its methods are all that is called
        client_manager=SimpleClientManager(),
    )
    records = context.state
    records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    start = ndarrays_to_parameters([np.zeros(1, np.float32)])
    records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(start, keep_input=True)
    return context


@contextmanager
def _hushed() -> Iterator[None]:
    """Let Flower log nothing: a round that ends after one vector is an error to it."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
