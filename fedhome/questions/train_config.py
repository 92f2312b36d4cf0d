"""What the server asks of homes in a round: the settings that travel with a train message."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedhome.errors import UpdateError
from fedhome.learning import methods, update_clipping
from fedhome.learning.methods import Method
from fedhome.learning.update_clipping import UpdateClipping
from fedhome.questions.settings import INPUTS, RATE, ROUND, SHELL, WARM

HEARD = frozenset({ROUND, WARM, RATE, INPUTS, SHELL, update_clipping.KEY})
"""What homes listen to in a train message, whichever method they train by."""

_AS_IT_IS = UpdateClipping()


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a train message; engines pass it on without knowing what is in it.

    It is plain data, so that it goes to another process as it is.

    Args:
        round: Number of the round, from 1; it names the order of batches.
        rate: Multiple of the plan's learning rate.
        settings: All else that came, by name: what a method's server half tells its home half.
        clipping: How long an update may be that leaves a home.
        shell: Which shell of a sliced model is added up.
    """

    round: int
    rate: float = 1.0
    settings: tuple[tuple[str, Any], ...] = ()
    clipping: UpdateClipping = _AS_IT_IS
    shell: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> TrainConfig:
        """Read the settings from a message's configuration.

        Raises:
            UpdateError: A setting of the wrong kind or size.
        """
        number = config.get(ROUND)
        if not isinstance(number, int) or number < 0:
            raise UpdateError(f"a message came with {ROUND} {number!r}, not a number of a round")
        rate = config.get(WARM, 1.0)
        if not (isinstance(rate, float) and 0 < rate <= 1):
            raise UpdateError(f"a message came with {WARM} {rate!r}, not a share of the rate")
        multiple = config.get(RATE, 1.0)
        if not (isinstance(multiple, float) and 0 < multiple < math.inf):
            raise UpdateError(f"a message came with {RATE} {multiple!r}, not a multiple of a rate")
        shell = config.get(SHELL, 0)
        if not isinstance(shell, int) or shell < 0:
            raise UpdateError(f"a message came with {SHELL} {shell!r}, not a number of a shell")
        return cls(
            round=number,
            rate=rate * multiple,
            settings=tuple(sorted((k, v) for k, v in config.items() if k not in HEARD)),
            clipping=UpdateClipping.of(config),
            shell=shell,
        )

    def method(self, own: Method) -> Method:
        """Return the method by which a home trains in this round.

        Args:
            own: The method of its plan.

        Raises:
            UpdateError: The message tells it what it does not know, or a value it cannot have.
        """
        return methods.told(own, dict(self.settings))
