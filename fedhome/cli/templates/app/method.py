"""What homes do in a round: descent, tied to where the round began; and who says how tightly."""

from collections.abc import Mapping
from typing import Any, ClassVar

from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg
from pydantic import Field

from fedhome.methods import Method, Params


class Tether(Method):
    """At home: every parameter is pulled back in proportion to how far the round has moved it."""

    told_by: ClassVar[Mapping[str, str]] = {"tether": "strength"}  # message's key: setting's name

    strength: float = Field(0.0, ge=0)

    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        """Add the pull to a step's gradient; torch alone, as many homes step at once."""
        return {
            name: slope + self.strength * (params[name] - start[name])
            for name, slope in gradient.items()
        }


class Shortening(FedAvg):
    """At the server: homes roam at first; round by round their tether gets tighter."""

    def __init__(self, *, tether: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.tether = tether

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Any
    ) -> Any:
        """Tell the homes this round's strength, with the model."""
        config["tether"] = self.tether * server_round
        return super().configure_train(server_round, arrays, config, grid)
