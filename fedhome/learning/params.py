"""A model's parameters by name, as everything that learns passes them on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # tables of names are read where torch is not needed
    from torch import Tensor

Params: TypeAlias = "dict[str, Tensor]"
