"""The two workloads on which all contenders train: the same rows, weights and order of batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedhome import rng
from fedhome.data.table import HomeTable
from fedhome.plan.settings import Plan

Floats = NDArray[np.float32]
Targets = NDArray[np.float32] | NDArray[np.int64]
Layers = list[tuple[Floats, Floats]]

_SEED = 1
_NOISE = 0.1


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What every client trains: one pass over its rows by plain SGD, from the global model.

    Args:
        name: "S" or "L".
        widths: Widths of the MLP, from the input to the output.
        rows: Training rows of each client.
        loss: "mse", or "cross-entropy" over the classes that the last width counts.
        clients: How many clients, unless the caller says otherwise; all train in each round.
        batch_size: Rows of a batch.
        learning_rate: Of SGD.
    """

    name: str
    widths: tuple[int, ...]
    rows: int
    loss: Literal["mse", "cross-entropy"]
    clients: int
    batch_size: int = 32
    learning_rate: float = 0.05

    def client(self, number: int) -> tuple[Floats, Targets]:
        """Return a client's training rows.

        Args:
            number: Which client, from 0.

        Returns:
            Inputs float32 ``[rows, features]``; targets float32 ``[rows, 1]``, or int64
            ``[rows]`` for cross-entropy.
        """
        x, y = self._drawn(number)
        if self.loss == "mse":
            return x[: self.rows], y[: self.rows, None].astype(np.float32)
        return x[: self.rows], y[: self.rows].astype(np.int64)

    def homes(self, plan: Plan) -> Iterator[HomeTable]:
        """Yield the clients as homes; ``data.source`` of this workload's plans names this.

        A home has two rows more than the others' clients: the shortest validation and test
        parts that there are.
        """
        labels = {"y": self._classes} if self._classes else {}
        for number in range(plan.data.homes or self.clients):
            x, y = self._drawn(number)
            columns = {f"x{index}": column.astype(np.float64) for index, column in enumerate(x.T)}
            yield HomeTable(
                home=_home(number),
                time_s=np.arange(len(y)),
                columns={**columns, "y": y},
                labels=labels,
            )

    def plan(self, *, clients: int, rounds: int, kernel: str = "auto", mode: str = "plain") -> Plan:
        """Return the plan of fedhome for this workload.

        Args:
            clients: How many clients.
            rounds: How many rounds.
            kernel: ``engine.kernel``.
            mode: ``aggregation.mode``; the others add nothing up in secret either.
        """
        rows = self.rows + 2
        return Plan.load(
            name=f"benchmark-{self.name}",
            seed=_SEED,
            data={
                "source": f"{__name__}:{self.name}.homes",
                "homes": clients,
                "target": "y",
                "lags": (),
                "horizon": 0,
                "calendar": False,
                "scale": "none",
                "split": (self.rows / rows, 1 / rows, 1 / rows),
                "gap": 0,
            },
            task={"kind": "regression" if self.loss == "mse" else "multi-class"},
            model={"hidden": self.widths[1:-1]},
            train={
                "learning_rate": self.learning_rate,
                "batch_size": self.batch_size,
                "epochs": 1,
            },
            rounds={"count": rounds, "evaluate_fraction": 0.0},
            personalise={"name": "none"},
            engine={"kernel": kernel},
            aggregation={"mode": mode},
        )

    def initial(self) -> Floats:
        """Return the first global parameters, flat: those of the plan."""
        # Imported here: JAX's processes get along without torch but for this.
        from fedhome.learning.build import learning_of  # noqa: PLC0415

        plan = self.plan(clients=1, rounds=1)
        return learning_of(plan, self.widths[0], self._classes).initial

    def layers(self, flat: Floats) -> Layers:
        """Return views of flat parameters: weight ``[out, in]`` and bias ``[out]`` by layer."""
        layers, offset = [], 0
        for inputs, outputs in pairwise(self.widths):
            weight = flat[offset : offset + inputs * outputs].reshape(outputs, inputs)
            offset += inputs * outputs
            layers.append((weight, flat[offset : offset + outputs]))
            offset += outputs
        return layers

    def order(self, number: int, round_number: int) -> NDArray[np.int64]:
        """Return the order of one client's rows in a round (from 1), int64 ``[rows]``."""
        return np.asarray(self.orders([number], round_number)[0])

    def orders(self, numbers: list[int], round_number: int) -> NDArray[np.int64]:
        """Return the order of some clients' rows in a round, int64 ``[clients, rows]``.

        It is the order in which fedhome's homes go through theirs.
        """
        keys = rng.home_keys(_SEED, [_home(number) for number in numbers])
        counts = np.full(len(keys), self.rows, np.int64)
        return rng.shuffles(rng.epoch_keys(keys, round_number, 0), counts)

    def mean_loss(self, flat: Floats, clients: int) -> float:
        """Return the loss of one global model on all clients' training rows.

        Args:
            flat: The parameters, float32 ``[size]``.
            clients: How many clients.
        """
        total = 0.0
        layers = self.layers(flat)
        for number in range(clients):
            x, y = self.client(number)
            output = x.astype(np.float64)
            for layer, (weight, bias) in enumerate(layers):
                output = output @ weight.T.astype(np.float64) + bias
                if layer < len(layers) - 1:
                    output = np.maximum(output, 0.0)
            if self.loss == "mse":
                total += float(((output - y) ** 2).mean())
            else:
                top = output.max(axis=1, keepdims=True)
                sums = np.log(np.exp(output - top).sum(axis=1)) + top[:, 0]
                total += float((sums - output[np.arange(len(y)), y]).mean())
        return total / clients

    @property
    def _classes(self) -> tuple[str, ...]:
        if self.loss == "mse":
            return ()
        return tuple(f"class {number}" for number in range(self.widths[-1]))

    @cached_property
    def _truth(self) -> NDArray[np.float64]:
        drawn = rng.generator(_SEED, "benchmark", self.name)
        shape = (self.widths[0], self.widths[-1])
        return np.asarray(drawn.standard_normal(shape) / self.widths[0] ** 0.5)

    def _drawn(self, number: int) -> tuple[Floats, NDArray[np.float64]]:
        """A client's rows, and two more: what all clients share, and a shift of its own."""
        drawn = rng.generator(_SEED, "benchmark", self.name, number)
        rows, outputs = self.rows + 2, self.widths[-1]
        x = drawn.standard_normal((rows, self.widths[0])).astype(np.float32)
        score = x @ self._truth + 0.5 * drawn.standard_normal(outputs)
        score += _NOISE * drawn.standard_normal((rows, outputs))
        y = np.sin(2.0 * score[:, 0]) if self.loss == "mse" else score.argmax(axis=1)
        return x, y.astype(np.float32).astype(np.float64)


def _home(number: int) -> str:
    return f"home-{number:05d}"


S = Workload(name="S", widths=(10, 64, 64, 1), rows=128, loss="mse", clients=1000)
L = Workload(name="L", widths=(64, 256, 256, 10), rows=512, loss="cross-entropy", clients=100)
WORKLOADS: Mapping[str, Workload] = {"S": S, "L": L}
