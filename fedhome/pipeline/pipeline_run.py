"""A network that runs over its parts, wherever they are, and what answers if one is gone."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np

from fedhome.errors import FedHomeError, ModelError, PipelineError
from fedhome.pipeline.device_table import HomeDevice
from fedhome.pipeline.home_keys_folder import asking, token_of
from fedhome.pipeline.layer_slice import Floats, Layer, LayerSlice, layers_of
from fedhome.pipeline.part_messages import (
    BACKWARD,
    FORWARD,
    GIVE,
    LOAD,
    WELCOME,
    PartAnswer,
    PartRequest,
    exactly,
    layers_in,
    packed,
    receive,
    send,
    unpacked,
)
from fedhome.pipeline.split_plan import SplitPlan
from fedhome.printable import shown

ANSWER_S: Final = 10.0
"""A device that gives no answer for this long has vanished."""
_ANY: Final = "replace"


class NetworkPart(Protocol):
    """Consecutive layers, here or elsewhere; methods as of :class:`LayerSlice`."""

    def forward(self, x: Floats) -> Floats:
        """Return what the layers make of rows."""

    def backward(self, slope: Floats, rate: float) -> Floats:
        """Go back, take a step, and return the gradient by the rows."""

    def now(self) -> Sequence[Layer]:
        """Return the layers as they are now."""


class LocalPart(LayerSlice):
    """Layers in this process."""

    def now(self) -> Sequence[Layer]:
        """Return the layers as they are now."""
        return [(weight.copy(), bias.copy()) for weight, bias in self.layers]


class RemotePart:
    """Layers on another device of the home, over TLS.

    Args:
        device: The device.
        layers: What it is given.
        last: Whether the network's last layer is among them.
        keys: Folder of the home's keys.
        answer_s: How long an answer may take, s.

    Raises:
        PipelineError: It cannot be reached, or refuses.
        StateError: The folder holds no keys.
    """

    def __init__(
        self,
        device: HomeDevice,
        layers: Sequence[Layer],
        *,
        last: bool,
        keys: Path,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.device = device
        token, context = token_of(keys), asking(keys)
        host, _, port = device.address.rpartition(":")
        with ExitStack() as open_:
            try:
                plain = socket.create_connection((host, int(port)), timeout=answer_s)
                open_.callback(plain.close)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connection = context.wrap_socket(plain, server_hostname=host)
                open_.callback(self.close)
                self._connection.sendall(token)
                welcome = exactly(self._connection, len(WELCOME))
            except (OSError, ValueError) as error:
                raise self._vanished(error) from None
            if welcome != WELCOME:
                raise PipelineError(
                    f"device {device.name} refuses: it has the secret of another home",
                    device=device.name,
                    hint="copy the folder of `fedhome pipeline keys` to it again",
                )
            self._ask(LOAD, [array for layer in layers for array in layer], last=last)
            open_.pop_all()

    def forward(self, x: Floats) -> Floats:
        """Return what the layers make of rows; raises as the class does."""
        return self._ask(FORWARD, [x])[0]

    def backward(self, slope: Floats, rate: float) -> Floats:
        """Go back, take a step, and return the gradient by the rows; raises as the class does."""
        return self._ask(BACKWARD, [slope], rate=rate)[0]

    def now(self) -> Sequence[Layer]:
        """Return the layers as they are now; raises as the class does."""
        return layers_in(self._ask(GIVE, []))

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _ask(
        self, what: str, arrays: Sequence[Floats], *, rate: float = 0.0, last: bool = False
    ) -> list[Floats]:
        request = PartRequest(
            what=what,
            last=int(last),
            rate=struct.pack("<d", rate),
            numbers=packed(arrays),
        )
        if (size := sum(one.nbytes for one in arrays)) > self.device.memory_bytes:
            raise PipelineError(
                f"{size:,} bytes were to go to device {self.device.name}, which has "
                f"{self.device.memory_bytes:,}",
                device=self.device.name,
                hint="take fewer rows at once, or plan the parts for that many",
            )
        try:
            send(self._connection, request)
            data = receive(self._connection)
            if not data:
                raise ConnectionResetError
            answer = PartAnswer.from_bytes(data)
            found = unpacked(answer.numbers)
        except (OSError, FedHomeError) as error:
            raise self._vanished(error) from None
        if answer.fault:
            raise PipelineError(
                f"device {self.device.name} refuses: {shown(answer.fault.decode(errors=_ANY))}",
                device=self.device.name,
            )
        return found

    def _vanished(self, error: Exception) -> PipelineError:
        return PipelineError(
            f"device {self.device.name} at {self.device.address} carries a part of the network and "
            f"does not answer ({type(error).__name__})",
            device=self.device.name,
            hint="see that `fedhome pipeline serve` runs there, with the same home's keys; a "
            "smaller slice of the model answers without it",
        )


@dataclass(frozen=True)
class Answered:
    """A prediction, and who gave it.

    Args:
        output: float32 ``[rows, outputs]``.
        whole: Whether the whole network gave it.
        note: Why it did not, in words; empty where it did.
    """

    output: Floats
    whole: bool
    note: str = ""


class PipelineRun:
    """A network over the parts of a plan; use it in a ``with``.

    Args:
        plan: Where its layers lie.
        parameters: The network's arrays by name, as :func:`layers_of` takes them.
        keys: Folder of the home's keys; None: all parts are in this process, whatever the
            plan's addresses are.
        smaller: Arrays of a smaller network that answers if a device vanishes, such as a slice
            (:mod:`fedhome.models.cut_slices`); None: nothing does.
        answer_s: How long a device's answer may take, s.

    Raises:
        ModelError: The plan is of another network.
        PipelineError: A device cannot be reached.
    """

    def __init__(
        self,
        plan: SplitPlan,
        parameters: Mapping[str, Floats],
        *,
        keys: Path | None = None,
        smaller: Mapping[str, Floats] | None = None,
        answer_s: float = ANSWER_S,
    ) -> None:
        layers = layers_of(parameters)
        self._names = list(parameters)
        self._smaller = None if smaller is None else LocalPart(layers_of(smaller), last=True)
        if [w.shape for w, _ in layers] != list(zip(plan.widths[1:], plan.widths, strict=False)):
            raise ModelError("the plan of this pipeline is of a network of other widths")
        self.parts: list[NetworkPart] = []
        with ExitStack() as open_:
            for one in plan.parts:
                own, last = layers[one.first : one.end], one.end == len(layers)
                if keys is None or not one.device.address:
                    self.parts.append(LocalPart(own, last=last))
                    continue
                part = RemotePart(one.device, own, last=last, keys=keys, answer_s=answer_s)
                open_.callback(part.close)
                self.parts.append(part)
            self._open = open_.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def predict(self, x: Floats) -> Floats:
        """Return the network's raw outputs ``[rows, outputs]`` for rows ``[rows, inputs]``.

        Raises:
            PipelineError: A device has vanished.
        """
        for part in self.parts:
            x = part.forward(x)
        return x

    def answer(self, x: Floats) -> Answered:
        """Predict; where a device has vanished, by the smaller network, and say so.

        Raises:
            PipelineError: A device has vanished, and there is no smaller network.
        """
        try:
            return Answered(self.predict(x), whole=True)
        except PipelineError as error:
            if self._smaller is None:
                raise
            note = f"{error.message}: a smaller slice of the model has answered"
            return Answered(self._smaller.forward(x), whole=False, note=note)

    def train_step(self, x: Floats, slope_of: Callable[[Floats], Floats], rate: float) -> Floats:
        """Take one step of plain descent over all parts.

        A device that vanishes on the way leaves the parts after it a step ahead: take the last
        `parameters` that were fetched, and begin from them.

        Args:
            x: Rows ``[rows, inputs]``.
            slope_of: From outputs ``[rows, outputs]`` to the loss's gradient by them.
            rate: Size of the step.

        Returns:
            The outputs before the step.

        Raises:
            PipelineError: A device has vanished.
        """
        output = self.predict(x)
        slope = np.asarray(slope_of(output), np.float32)
        for part in reversed(self.parts):
            slope = part.backward(slope, rate)
        return output

    def parameters(self) -> dict[str, Floats]:
        """Return the network's arrays by name, as they are now.

        Raises:
            PipelineError: A device has vanished.
        """
        arrays = [array for part in self.parts for layer in part.now() for array in layer]
        return dict(zip(self._names, arrays, strict=True))
