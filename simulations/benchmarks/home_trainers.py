"""One way to train a home's network, in a process of its own: ``home_trainers NAME CASE OUT``.

Nothing is imported but what that way needs, so that its resident memory is its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome import rng
from fedhome.data.series.examples import HomeExamples
from fedhome.learning.batch_order import passes
from fedhome.learning.cohort import Training
from fedhome.learning.first_parameters import first_parameters
from fedhome.learning.one_home import OneHome
from fedhome.plan.settings import Plan

Floats = NDArray[np.float32]
_KIB_PER_MB = 1024
_CLIPPING = 1e-6  # as gradient clipping adds it


class TrainingCase(NamedTuple):
    """A network and a home's rows.

    Args:
        widths: From the input to the output.
        rows: Training rows.
        epochs: Passes that are measured, each with an empty optimiser at its start.
    """

    widths: tuple[int, ...]
    rows: int
    epochs: int

    @property
    def plan(self) -> Plan:
        """The plan that a home would train it by: the defaults, at a lower rate."""
        return Plan.load(
            model={"hidden": list(self.widths[1:-1])},
            train={"learning_rate": 0.01},
            data={"horizon": 1},
            task={"kind": "regression"},
        )

    def examples(self) -> HomeExamples:
        """Return the home's rows: targets follow inputs, with noise."""
        drawn = np.random.default_rng(7)
        x = drawn.normal(size=(self.rows, self.widths[0])).astype(np.float32)
        signal = np.sin(x[:, :3].sum(axis=1)) + 0.1 * drawn.normal(size=self.rows)
        nothing = np.zeros(self.rows, np.float32)
        y = signal.astype(np.float32)[:, None]
        return HomeExamples(home="h", x=x, y=y, naive=nothing, counts=(self.rows, 0, 0))


CASES: Mapping[str, TrainingCase] = {
    "default": TrainingCase((24, 64, 64, 1), 14_400, 10),
    "large": TrainingCase((1446, 512, 256, 64, 1), 7_776, 2),
}
"""fedhome's default network on ten days of minutes, and a forecaster with many inputs."""

Epoch = Callable[[Floats, int], Floats]
"""From parameters ``[size]`` and the number of an epoch to the parameters after it."""


def _at_home(device: OneHome) -> Epoch:
    def epoch(params: Floats, number: int) -> Floats:
        return np.asarray(device.train(params, Training(stream=number, epochs=1)).params[0])

    return epoch


def kernel(case: TrainingCase) -> Epoch:
    """Train as homes do: by the compiled kernel."""
    from fedhome.learning.at_home import device_of  # noqa: PLC0415

    return _at_home(device_of(case.plan, case.examples()))


def three_functions(case: TrainingCase) -> Epoch:
    """Train as homes do what the kernel does not know: by the three functions, in torch."""
    from fedhome.learning.build import learning_of  # noqa: PLC0415
    from fedhome.learning.device import Device  # noqa: PLC0415

    plan = case.plan
    return _at_home(Device(learning_of(plan, case.widths[0]), case.examples(), plan.seed))


def torch_loop(case: TrainingCase) -> Epoch:
    """Train as a user of torch writes it, with its own modules and optimiser."""
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    torch.set_num_threads(1)
    linears = [nn.Linear(*pair) for pair in pairwise(case.widths)]
    model = nn.Sequential(*[m for one in linears for m in (one, nn.ReLU())][:-1])
    train, examples = case.plan.train, case.examples()
    x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y)

    def epoch(params: Floats, number: int) -> Floats:
        nn.utils.vector_to_parameters(torch.from_numpy(params.copy()), model.parameters())
        optimiser = torch.optim.SGD(model.parameters(), train.learning_rate)
        for rows in _batches(case, number):
            optimiser.zero_grad()
            chosen = torch.from_numpy(rows)
            loss = 2 * nn.functional.huber_loss(model(x[chosen]), y[chosen])
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), train.clip_norm)
            optimiser.step()
        return nn.utils.parameters_to_vector(model.parameters()).detach().numpy()

    return epoch


def numpy_loop(case: TrainingCase) -> Epoch:
    """Train as a user of numpy writes it."""
    train, examples = case.plan.train, case.examples()

    def epoch(params: Floats, number: int) -> Floats:
        flat = params.copy()
        weights, biases = _views(flat, case.widths)
        for rows in _batches(case, number):
            inputs, values = [], examples.x[rows]
            for weight, bias in zip(weights, biases, strict=True):
                inputs.append(values)
                values = np.maximum(values @ weight.T + bias, 0)
            # The last layer has no ReLU.
            values = inputs[-1] @ weights[-1].T + biases[-1]
            back = 2 * np.clip(values - examples.y[rows], -1, 1) / np.float32(len(rows))
            gradient = np.empty_like(flat)
            of_weights, of_biases = _views(gradient, case.widths)
            for layer in reversed(range(len(weights))):
                np.matmul(back.T, inputs[layer], out=of_weights[layer])
                back.sum(axis=0, out=of_biases[layer])
                back = (back @ weights[layer]) * (inputs[layer] > 0)
            norm = float(np.sqrt(gradient @ gradient))
            flat -= (
                np.float32(train.learning_rate * min(train.clip_norm / (norm + _CLIPPING), 1.0))
                * gradient
            )
        return flat

    return epoch


TRAINERS: Mapping[str, Callable[[TrainingCase], Epoch]] = {
    "kernel": kernel,
    "numpy": numpy_loop,
    "torch": torch_loop,
    "three functions": three_functions,
}
"""Every way by its name."""


def _views(flat: Floats, widths: tuple[int, ...]) -> tuple[list[Floats], list[Floats]]:
    weights, biases, at = [], [], 0
    for inputs, outputs in pairwise(widths):
        weights.append(flat[at : at + inputs * outputs].reshape(outputs, inputs))
        at += inputs * outputs
        biases.append(flat[at : at + outputs])
        at += outputs
    return weights, biases


def _batches(case: TrainingCase, number: int) -> list[NDArray[np.int64]]:
    """Return an epoch's batches in a home's order."""
    plan = case.plan
    keys = rng.home_keys(plan.seed, ("h",))
    ((_, own),) = passes(keys, np.array([case.rows]), stream=number, epochs=1, rows=0)
    return np.split(own[0], range(plan.train.batch_rows, case.rows, plan.train.batch_rows))


def _resident() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        name: int(fields[key].split()[0]) / _KIB_PER_MB
        for name, key in (("resident_mb", "VmRSS"), ("peak_mb", "VmHWM"))
    }


def measured(name: str, case: TrainingCase) -> tuple[dict[str, float], Floats]:
    """Return what one way takes, and the parameters that it ends with.

    Args:
        name: One of `TRAINERS`.
        case: What is trained.
    """
    begin = time.perf_counter()
    epoch = TRAINERS[name](case)
    params = first_parameters(case.widths, 1)
    params = epoch(params, 0)  # what is compiled or loaded at first is no epoch's
    ready_s = time.perf_counter() - begin
    costs = []
    for number in range(1, case.epochs + 1):
        begin = time.process_time()
        params = epoch(params, number)
        costs.append(time.process_time() - begin)
    told = {"ready_s": ready_s, "epoch_ms": 1e3 * float(np.median(costs)), **_resident()}
    return told, params


def main(arguments: list[str]) -> None:
    """Measure one way, and write figures and parameters.

    Args:
        arguments: The way, the case, the file to write.
    """
    name, case, out = arguments
    told, params = measured(name, CASES[case])
    extra: dict[str, Any] = {"told": json.dumps(told), "params": params}
    np.savez(out, **extra)


if __name__ == "__main__":
    main(sys.argv[1:])
