"""The public face of the fused engine."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from fedhome.errors import EngineError
from fedhome.learning.fused.apart import CompileRequest, compiled_apart
from fedhome.learning.fused.client_work import ClientWork, order_faults, shares_of
from fedhome.learning.fused.linked import can_link
from fedhome.learning.fused.nesting import Nesting
from fedhome.learning.fused.rule import LABELLED, LossName, OptimiserName, Rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedhome.learning.fused.native_call import Native

_LINE_BYTES = 64
_INSTALL = "Install llvmlite (pip install llvmlite), or choose another engine."


class FusedMLP:
    """Minibatch training of many small MLPs, compiled for this processor.

    The network is Linear, ReLU, Linear, ..., Linear. With ``slices`` each client trains several of
    them that lie within each other, by the sum of their losses (:mod:`.nesting`). The code is
    compiled at the first call of ``train`` and shared by every object with the same settings.

    Args:
        sizes: Widths from the input to the output, e.g. ``(10, 64, 64, 1)``.
        loss: ``"mse"``, ``"bce"`` (on logits) or ``"cross-entropy"`` (on logits), each the mean
            over a batch's rows and, for the first two, over outputs.
        optimiser: ``"sgd"`` or ``"adam"`` (betas 0.9 and 0.999, epsilon 1e-8), with the arithmetic
            of ``torch.optim``; its state begins anew for every client in every call.
        momentum: Of SGD.
        weight_decay: Times the parameter, added to the gradient after clipping.
        proximal_mu: Times the way from the client's start, added to the gradient before clipping.
        clip_norm: Largest L2 norm of a step's gradient; None for no clipping.
        apart: Whether another process compiles, which ends thereafter: a process that lives on then
            never holds the compiler. Where it is not known how (Linux on x86-64 and on 64-bit Arm
            it is), this one compiles all the same.
        slices: Widths of the hidden layers of networks within each other, from the smallest to the
            largest, which has those of ``sizes``; none: that one alone.

    Raises:
        EngineError: The settings are not supported, or llvmlite is not installed.

    Example:
        >>> import numpy as np
        >>> model = FusedMLP((1, 1), loss="mse", optimiser="sgd")
        >>> params = np.zeros((1, 2), np.float32)  # one client: its weight, its bias
        >>> x, y = np.ones((1, 1), np.float32), np.ones((1, 1), np.float32)
        >>> model.train(params, x, y, np.array([0]), np.array([1]),
        ...             batch_size=1, epochs=1, learning_rate=0.25)
        array([1.])
        >>> params
        array([[0.5, 0.5]], dtype=float32)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        loss: LossName,
        optimiser: OptimiserName,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        proximal_mu: float = 0.0,
        clip_norm: float | None = None,
        apart: bool = False,
        slices: Sequence[tuple[int, ...]] = (),
    ) -> None:
        reason = self.supports(
            sizes,
            loss=loss,
            optimiser=optimiser,
            momentum=momentum,
            weight_decay=weight_decay,
            proximal_mu=proximal_mu,
            clip_norm=clip_norm,
            slices=slices,
        )
        if reason is not None:
            missing = importlib.util.find_spec("llvmlite") is None
            raise EngineError(
                f"The fused engine cannot train this model: {reason}.",
                hint=_INSTALL if missing else "Choose another engine, or other settings.",
            )
        self.nesting = Nesting(tuple(sizes), tuple(slices))
        self.sizes = self.nesting.sizes
        self.loss: LossName = loss
        self.apart = apart
        self.rule = Rule(
            optimiser,
            momentum,
            weight_decay,
            proximal_mu,
            clip_norm,
            summed=len(self.nesting.networks) > 1,
        )

    @classmethod
    def supports(
        cls,
        sizes: Sequence[int],
        *,
        loss: str,
        optimiser: str,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        proximal_mu: float = 0.0,
        clip_norm: float | None = None,
        slices: Sequence[tuple[int, ...]] = (),
    ) -> str | None:
        """Why these settings cannot be used here, or None where they can.

        Args:
            sizes: As for the class, and so are the others.
            loss: Name of the loss.
            optimiser: Name of the optimiser.
            momentum: Of SGD.
            weight_decay: Coupled weight decay.
            proximal_mu: Strength of FedProx's pull.
            clip_norm: Largest L2 norm, or None.
            slices: Hidden layers of networks within each other.
        """
        factors = {
            "momentum": momentum,
            "weight_decay": weight_decay,
            "proximal_mu": proximal_mu,
            "clip_norm": 0.0 if clip_norm is None else clip_norm,
        }
        faults = [
            f"{name} is {value}, not a finite number from 0 up"
            for name, value in factors.items()
            if not (math.isfinite(value) and value >= 0)
        ]
        if fault := Nesting(tuple(sizes), tuple(slices)).fault:
            faults.append(fault)
        if loss not in get_args(LossName):
            faults.append(f"its loss is {loss!r}, not one of {', '.join(get_args(LossName))}")
        if optimiser not in get_args(OptimiserName):
            known = ", ".join(get_args(OptimiserName))
            faults.append(f"its optimiser is {optimiser!r}, not one of {known}")
        if momentum and optimiser == "adam":
            faults.append("momentum goes with SGD only")
        if importlib.util.find_spec("llvmlite") is None:
            faults.append("llvmlite is not installed")
        return "; ".join(faults) or None

    @property
    def parameters(self) -> int:
        """Floats in one client's parameters."""
        return self.nesting.parameters

    def compile(self, rows: int) -> None:
        """Write the code beforehand that batches need; else the first training does.

        Args:
            rows: Rows of a batch, at least 1.

        Raises:
            EngineError: This system forbids new machine code.
        """
        self._native(rows)

    def workspace_bytes(self, rows: int) -> int:
        """Return the bytes that one training of a client holds beside its arguments.

        They are filled up to whole vectors of this processor.

        Args:
            rows: Rows of a batch, at least 1.

        Raises:
            EngineError: This system forbids new machine code.
        """
        return 4 * self._native(rows).workspace + _LINE_BYTES

    def train(
        self,
        params: NDArray[np.float32],
        x: NDArray[np.float32],
        y: NDArray[Any],
        order: NDArray[np.integer[Any]],
        counts: NDArray[np.integer[Any]],
        *,
        batch_size: int,
        epochs: int,
        learning_rate: float,
        threads: int = 1,
    ) -> NDArray[np.float64]:
        """Train every client from its own start on its own rows.

        Args:
            params: float32 [clients, parameters], C-contiguous: each client's start on entry and
                its result after. A row holds, layer by layer, the weight [out, in] and the bias
                [out], as ``torch.nn.Sequential.state_dict`` does; with slices, after the hidden
                layers an output layer for each depth, in ascending order.
            x: float32 [rows, inputs], C-contiguous, the rows of all clients.
            y: Targets of those rows: float32 [rows, outputs], or int64 [rows] class numbers for
                cross-entropy; C-contiguous.
            order: Integers: for each client ``epochs * count`` row numbers, one client after the
                other. An epoch's rows are cut into batches in this order; the last is shorter
                where they do not come out even, and its mean is over its own rows.
            counts: Integers [clients], rows of an epoch. A client with 0 keeps its parameters.
            batch_size: Rows of a batch.
            epochs: Passes over a client's rows.
            learning_rate: Step size.
            threads: Threads that share the clients.

        Returns:
            float64 [clients], the mean over a client's last epoch of each row's loss (and over the
            slices), taken just before the step that used the row; 0 for a client without rows.

        Raises:
            EngineError: An argument has another shape, type or range than expected (all faults
                at once), or this system forbids new machine code.
        """
        work = ClientWork(x, y, order, counts, batch_size, epochs, learning_rate)
        faults = [] if threads >= 1 else [f"threads is {threads}, not at least 1"]
        if len(params) != len(counts):
            faults.append(f"params has {len(params)} clients, counts has {len(counts)}")
        if not params.flags.writeable:
            faults.append("params is read-only")
        work, losses = self._checked(work, params, faults), np.zeros(len(counts), np.float64)
        if not work.counts.any():
            return losses
        native, begin = self._native(work.rows), work.begin
        shares = shares_of(begin, threads) if threads > 1 else [slice(0, len(counts))]

        def run(some: slice) -> None:
            self._call(native, _workspace(native), work.of(some, begin), params[some], losses[some])

        if len(shares) == 1:
            run(shares[0])
        else:
            with ThreadPoolExecutor(len(shares)) as pool:
                list(pool.map(run, shares))
        return losses

    def train_sum(
        self,
        start: NDArray[np.float32],
        x: NDArray[np.float32],
        y: NDArray[Any],
        order: NDArray[np.integer[Any]],
        counts: NDArray[np.integer[Any]],
        *,
        shares: NDArray[np.float32],
        each: int = 0,
        batch_size: int,
        epochs: int,
        learning_rate: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Train every client from one start, and add up what some clients at a time end with.

        No client's result is ever in memory but the one at work: a sum costs far less than to
        write them all and read them again.

        Args:
            start: float32 [parameters], C-contiguous: every client's start, laid out as a row of
                ``params`` of :meth:`train`.
            x: As of :meth:`train`, and so are the others.
            y: Targets.
            order: Row numbers.
            counts: Rows of an epoch.
            shares: float32 [clients], C-contiguous: what each client's result is multiplied with.
            each: Clients of a sum, the last of which may have fewer; 0: one sum of all.
            batch_size: Rows of a batch.
            epochs: Passes over a client's rows.
            learning_rate: Step size.

        Returns:
            float32 [sums, parameters], each in the clients' order, each product fused with its
            addition; and float64 [clients], the losses of :meth:`train`.

        Raises:
            EngineError: As of :meth:`train`.
        """
        work = ClientWork(x, y, order, counts, batch_size, epochs, learning_rate)
        faults = [] if each >= 0 else [f"each is {each}, not at least 0"]
        if shares.dtype != np.float32 or shares.shape != counts.shape:
            what = f"{shares.dtype} {list(shares.shape)}"
            faults.append(f"shares is {what}, not float32, one a count")
        elif not shares.flags.c_contiguous:
            faults.append("shares is not C-contiguous")
        work, losses = self._checked(work, start[None], faults), np.zeros(len(counts), np.float64)
        number = max(1, len(counts))
        begin, each = work.begin, each or number
        total = np.empty((-(-number // each), self.parameters), np.float32)
        native = self._native(work.rows)
        workspace = _workspace(native)
        for row, first in enumerate(range(0, number, each)):
            some = slice(first, min(first + each, len(counts)))
            sums = (shares[some], total[row])
            self._call(native, workspace, work.of(some, begin), start, losses[some], *sums)
        return total, losses

    def _call(
        self,
        native: Native,
        workspace: NDArray[np.float32],
        work: ClientWork,
        params: NDArray[np.float32],
        losses: NDArray[np.float64],
        *sums: NDArray[np.float32],
    ) -> None:
        arrays = (params, work.x, work.y, work.order, work.counts, losses, workspace)
        native.call(
            *(array.ctypes.data for array in arrays),
            *((array.ctypes.data for array in sums) if sums else (None, None)),
            len(work.counts),
            work.batch_size,
            work.epochs,
            work.learning_rate,
        )

    def _checked(self, work: ClientWork, params: NDArray[Any], more: list[str]) -> ClientWork:
        """Return what is to be done as the code takes it, refused where it would leave memory."""
        y, order, epochs = work.y, work.order, work.epochs
        faults = self._faults(params, work.x, y, batch_size=work.batch_size, epochs=epochs)
        faults += [*order_faults(order, work.counts, rows=len(work.x), epochs=epochs), *more]
        if LABELLED[self.loss] and not faults and order.size:
            used = y[order]  # not all of y: it may hold the rows of very many clients
            if used.min() < 0 or used.max() >= self.sizes[-1]:
                faults.append(f"y names classes outside 0 to {self.sizes[-1] - 1}")
        if faults:
            lines = "".join(f"\n  - {fault}" for fault in faults)
            raise EngineError(
                f"The fused engine cannot use its arguments:{lines}",
                hint="The docstring of FusedMLP.train gives each one's shape and type.",
            )
        return work._replace(
            order=np.ascontiguousarray(order, dtype=np.int64),
            counts=np.ascontiguousarray(work.counts, dtype=np.int64),
        )

    def _native(self, rows: int) -> Native:
        if self.apart and can_link():
            most = 1 << (rows - 1).bit_length()  # as below
            return compiled_apart(
                CompileRequest(
                    sizes=self.sizes,
                    loss=self.loss,
                    rule=self.rule,
                    rows=most,
                    slices=self.nesting.slices,
                )
            )
        # Imported here: only who compiles in this process needs llvmlite.
        from fedhome.learning.fused.compiler import host_tile, native, shape_of  # noqa: PLC0415

        return native(shape_of(self.nesting, self.loss, self.rule, rows, host_tile()))

    def _faults(
        self,
        params: NDArray[Any],
        x: NDArray[Any],
        y: NDArray[Any],
        **counted: int,
    ) -> list[str]:
        """What would make the native code read or write outside these arrays."""
        classes = LABELLED[self.loss]
        expected = [
            ("params", params, np.float32, (len(params), self.parameters)),
            ("x", x, np.float32, (len(x), self.sizes[0])),
            (
                "y",
                y,
                np.int64 if classes else np.float32,
                (len(x),) if classes else (len(x), self.sizes[-1]),
            ),
        ]
        faults = [
            f"{name} is {array.dtype} {list(array.shape)}, not {np.dtype(kind)} {list(shape)}"
            for name, array, kind, shape in expected
            if array.dtype != kind or array.shape != shape
        ]
        faults += [
            f"{name} is not C-contiguous"
            for name, array, _, _ in expected
            if not array.flags.c_contiguous
        ]
        faults += [f"{name} is {n}, not at least 1" for name, n in counted.items() if n < 1]
        return faults


def _workspace(native: Native) -> NDArray[np.float32]:
    """Return memory for a call: zeros, as code needs them between a width and the next vector."""
    raw = np.zeros(native.workspace * 4 + _LINE_BYTES, np.uint8)
    first = -raw.ctypes.data % _LINE_BYTES
    return raw[first : first + native.workspace * 4].view(np.float32)
