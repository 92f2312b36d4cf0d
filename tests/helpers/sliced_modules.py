"""Modules of a user's own that declare their slices, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedhome.models import first_places, mlp, places_in


class Convolution(nn.Module):
    """A convolution over a row, and a line on top: slices are its first channels."""

    def __init__(self, features: int, outputs: int, units: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        self.sizes = features, outputs, units, dropout
        self.inner = nn.Conv1d(1, units, 3, padding=1)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(units, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs ``[rows, outputs]``."""
        return self.out(self.drop(torch.relu(self.inner(x[:, None])).mean(dim=2)))

    def slice(self, width: float, depth: int) -> tuple[nn.Module, Mapping[str, Any]]:
        """Return its first channels."""
        del depth
        features, outputs, units, dropout = self.sizes
        small = Convolution(features, outputs, max(1, round(width * units)), dropout)
        return small, first_places(self, small)


class Gates(nn.Module):
    """A recurrent cell over a row: gates lie one under the other, so no slice is a first part."""

    def __init__(self, features: int, outputs: int, units: int = 8) -> None:
        super().__init__()
        self.sizes = features, outputs, units
        self.cell = nn.GRUCell(1, units)
        self.out = nn.Linear(units, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs ``[rows, outputs]``."""
        state = x.new_zeros(len(x), self.sizes[2])
        for column in x.unbind(dim=1):
            state = self.cell(column[:, None], state)
        return self.out(state)

    def slice(self, width: float, depth: int) -> tuple[nn.Module, Mapping[str, Any]]:
        """Return the first units of each gate, by a GRU's three."""
        del depth
        features, outputs, all_ = self.sizes
        units, at = max(1, round(width * all_)), places_in(self)
        gates = {
            name: at[f"cell.{name}"].reshape(3, all_, -1)[:, :units]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        return Gates(features, outputs, units), {
            "cell.weight_ih": gates["weight_ih"].reshape(3 * units, 1),
            "cell.weight_hh": gates["weight_hh"][:, :, :units].reshape(3 * units, units),
            "cell.bias_ih": gates["bias_ih"].ravel(),
            "cell.bias_hh": gates["bias_hh"].ravel(),
            "out.weight": at["out.weight"][:, :units],
            "out.bias": at["out.bias"],
        }


class FusedGates(Gates):
    """The same with a fused layer, which is computed by its definition for many homes at once."""

    def __init__(self, features: int, outputs: int, units: int = 8) -> None:
        nn.Module.__init__(self)  # so that its first numbers are those of a cell
        self.sizes = features, outputs, units
        self.cell = nn.GRU(1, units, batch_first=True)  # type: ignore[assignment]
        self.out = nn.Linear(units, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs ``[rows, outputs]``."""
        return self.out(self.cell(x[:, :, None])[0][:, -1])

    def slice(self, width: float, depth: int) -> tuple[nn.Module, Mapping[str, Any]]:
        """Return the first units of each gate."""
        del depth
        features, outputs, all_ = self.sizes
        units, at = max(1, round(width * all_)), places_in(self)
        found: dict[str, Any] = {"out.weight": at["out.weight"][:, :units]}
        found["out.bias"] = at["out.bias"]
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            gates = at[f"cell.{name}"].reshape(3, all_, -1)[:, :units]
            gates = gates[:, :, :units] if name == "weight_hh_l0" else gates
            shape = (3 * units,) if name.startswith("bias") else (3 * units, -1)
            found[f"cell.{name}"] = gates.reshape(shape)
        return type(self)(features, outputs, units), found


class LooksAtNumbers(Convolution):
    """A convolution whose smaller slices look at numbers, as no function of many homes can."""

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs ``[rows, outputs]``."""
        if self.sizes[2] == 2 and float(x.sum()) > 1e9:
            x = x / 2
        return super().forward(x)

    def slice(self, width: float, depth: int) -> tuple[nn.Module, Mapping[str, Any]]:
        """Return its first channels."""
        del depth
        features, outputs, units, _ = self.sizes
        small = LooksAtNumbers(features, outputs, max(1, round(width * units)))
        return small, first_places(self, small)


class Exits(nn.Module):
    """The perceptron with exits that a plan with tiers makes of itself, as a module of a user's."""

    def __init__(self, features: int, outputs: int, hidden: tuple[int, ...] = (8, 8)) -> None:
        super().__init__()
        self.sizes = features, outputs, tuple(hidden)
        inputs = (features, *hidden[:-1])
        self.layers = nn.ModuleList(map(nn.Linear, inputs, hidden))
        # What the sensor reads of the first layer, and the whole of the last.
        self.exits = nn.ModuleDict(
            {"1": nn.Linear(hidden[0] // 4, outputs), "2": nn.Linear(hidden[-1], outputs)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the deepest exit's outputs ``[rows, outputs]``."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.exits["2"](x)  # type: ignore[no-any-return]

    def slice(self, width: float, depth: int) -> tuple[nn.Module, Mapping[str, Any]]:
        """Return the first units of the first layers, with the exit of that depth."""
        features, outputs, hidden = self.sizes
        units = [max(1, round(width * all_)) for all_ in hidden[:depth]]
        at, before, found = places_in(self), features, dict[str, Any]()
        for number, rows in enumerate(units):
            found[f"{2 * number}.weight"] = at[f"layers.{number}.weight"][:rows, :before]
            found[f"{2 * number}.bias"] = at[f"layers.{number}.bias"][:rows]
            before = rows
        found[f"{2 * depth}.weight"] = at[f"exits.{depth}.weight"][:, :before]
        found[f"{2 * depth}.bias"] = at[f"exits.{depth}.bias"]
        return mlp(features, outputs, hidden=tuple(units)), found


class Scattered(nn.Module):
    """A line whose slices have any places that they are told to have."""

    def __init__(self, features: int, outputs: int, places: Mapping[str, Any]) -> None:
        super().__init__()
        self.places, self.outputs = places, outputs
        self.line = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs ``[rows, outputs]``."""
        return self.line(x)

    def slice(self, width: float, depth: int) -> tuple[nn.Module, Mapping[str, Any]]:
        """Return a line of as many inputs as places were told of, and these places."""
        del depth
        weight, bias = self.places[str(width)]
        return _Some(len(weight), self.outputs), {
            "line.weight": np.array([weight]),
            "line.bias": np.array([bias]),
        }


class _Some(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.line = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.line(x[:, : self.inputs])
