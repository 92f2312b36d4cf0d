"""In JAX: FedJAX's federated averaging, and all clients under ``vmap`` and ``jit``."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.simulations.benchmarks.measure import (
    BenchmarkCase,
    Measurement,
    NotHereError,
    RoundClock,
)
from fedhome.simulations.benchmarks.workloads import Workload

_CHUNK = {"S": 50, "L": 10}  # clients at a time: their weights stay in the second-level cache


def fedjax(case: BenchmarkCase) -> Measurement:
    """FedJAX's own algorithm, with its ``jit`` backend (the default)."""
    library, jax = _optional("fedjax"), _optional("jax")
    # FedJAX 0.0.17 calls it by this name, which JAX has since given up.
    jax.tree_map = jax.tree_util.tree_map
    workload, clock = case.workload, RoundClock()

    class InOrder(library.ClientDataset):  # type: ignore[misc,name-defined]
        """A client's rows, already in this round's order."""

        def shuffle_repeat_batch(self, hparams: Any = None, **settings: Any) -> Any:
            del hparams, settings
            return self.batch(batch_size=workload.batch_size)

    def loss(params: Any, batch: Any, key: Any) -> Any:
        del key
        return _loss(workload, params, batch["x"], batch["y"])

    algorithm = library.algorithms.fed_avg.federated_averaging(
        jax.grad(loss),
        client_optimizer=library.optimizers.sgd(learning_rate=workload.learning_rate),
        server_optimizer=library.optimizers.sgd(learning_rate=1.0),
        client_batch_hparams=library.ShuffleRepeatBatchHParams(batch_size=workload.batch_size),
    )
    data = [workload.client(number) for number in range(case.clients)]
    keys = jax.random.split(jax.random.PRNGKey(0), case.clients)
    state = algorithm.init(_layers(workload))
    params = workload.initial()
    for round_number in range(1, case.rounds + 1):
        orders = workload.orders(list(range(case.clients)), round_number)
        clients = [
            (str(number).encode(), InOrder({"x": x[order], "y": y[order]}), key)
            for number, ((x, y), order, key) in enumerate(zip(data, orders, keys, strict=True))
        ]
        state, _ = algorithm.apply(state, clients)
        jax.block_until_ready(state.params)
        clock.round_ended()
        if round_number == case.checked:
            params = _flat(state.params)
    return clock.measured(params)


def jax_vmap(case: BenchmarkCase) -> Measurement:
    """Clients under ``vmap``, steps under ``scan``, all under ``jit``; whole float32 products."""
    return _vmapped(case, "highest")


def jax_vmap_coarse(case: BenchmarkCase) -> Measurement:
    """The same with the precision that JAX takes unasked: TF32 on a GPU."""
    return _vmapped(case, "default")


def _vmapped(case: BenchmarkCase, precision: str) -> Measurement:
    """Train clients in chunks that suit the processor's cache; on a GPU in one."""
    jax, jnp = _optional("jax"), _optional("jax.numpy")
    jax.config.update("jax_default_matmul_precision", precision)
    workload, clock = case.workload, RoundClock()
    gradient = jax.grad(lambda params, x, y: _loss(workload, params, x, y))

    def client(shared: Any, x: Any, y: Any, order: Any) -> Any:
        def step(params: Any, rows: Any) -> tuple[Any, None]:
            moves = gradient(params, x[rows], y[rows])
            rate = workload.learning_rate
            return jax.tree_util.tree_map(lambda p, g: p - rate * g, params, moves), None

        return jax.lax.scan(step, shared, order.reshape(-1, workload.batch_size))[0]

    def chunk(shared: Any, x: Any, y: Any, order: Any) -> Any:
        trained = jax.vmap(client, in_axes=(None, 0, 0, 0))(shared, x, y, order)
        return jax.tree_util.tree_map(lambda p: p.sum(axis=0), trained)

    train = jax.jit(chunk)
    here = jax.default_backend() == "cpu"
    size = min(_CHUNK[workload.name], case.clients) if here else case.clients
    starts = range(0, case.clients, size)
    data = [
        tuple(
            jnp.asarray(np.stack(part))
            for part in zip(
                *(workload.client(n) for n in range(first, min(first + size, case.clients))),
                strict=True,
            )
        )
        for first in starts
    ]
    shared = _layers(workload)
    params = workload.initial()
    drawn = [
        workload.orders(list(range(case.clients)), round_number).astype(np.int32)
        for round_number in range(1, case.rounds + 1)
    ]
    for round_number, orders in enumerate(drawn, 1):
        sums = [
            train(shared, x, y, orders[first : first + size])
            for first, (x, y) in zip(starts, data, strict=True)
        ]
        shared = jax.tree_util.tree_map(lambda *parts: sum(parts) / case.clients, *sums)
        jax.block_until_ready(shared)
        clock.round_ended()
        if round_number == case.checked:
            params = _flat(shared)
    return clock.measured(params)


def _optional(module: str) -> Any:
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise NotHereError(f"{module} is not installed: pip install fedjax")
    return importlib.import_module(module)


def _layers(workload: Workload) -> list[tuple[Any, Any]]:
    jnp = _optional("jax.numpy")
    return [(jnp.asarray(w.T), jnp.asarray(b)) for w, b in workload.layers(workload.initial())]


def _flat(layers: list[tuple[Any, Any]]) -> NDArray[np.float32]:
    arrays = [part for w, b in layers for part in (np.asarray(w).T.ravel(), np.asarray(b))]
    return np.concatenate(arrays)


def _loss(workload: Workload, params: Any, x: Any, y: Any) -> Any:
    jax, jnp = _optional("jax"), _optional("jax.numpy")
    for weight, bias in params[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    output = x @ params[-1][0] + params[-1][1]
    if workload.loss == "mse":
        return ((output - y) ** 2).mean()
    chosen = jnp.take_along_axis(jax.nn.log_softmax(output), y[:, None], axis=1)
    return -chosen.mean()
