"""What the server asks of homes in a round, and what leaves a home."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import UpdateError


@dataclass(frozen=True, kw_only=True)
class Order:
    """The settings that travel with a train message.

    Args:
        round: Number of the round, from 1; it names the order of batches.
        proximal_mu: Proximal pull in place of the plan's (FedProx); None: the plan's.
        clip_norm: Greatest L2 norm of the update that leaves (client-side clipping, as
            Flower's ``fixedclipping_mod`` and ``adaptiveclipping_mod``); None: no clipping.
    """

    round: int
    proximal_mu: float | None = None
    clip_norm: float | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Order:
        """Read the settings from a message's configuration.

        Raises:
            UpdateError: A setting of the wrong kind or size.
        """
        turn, mu = config.get("server-round"), config.get("proximal-mu")
        clip = config.get("clipping_norm")
        if not isinstance(turn, int) or turn < 0:
            raise UpdateError(f"a message came with server-round {turn!r}, not a number of a round")
        for name, value in (("proximal-mu", mu), ("clipping_norm", clip)):
            if value is not None and not (isinstance(value, int | float) and 0 <= value < np.inf):
                raise UpdateError(f"a message came with {name} {value!r}, not a finite size")
        return cls(
            round=turn,
            proximal_mu=None if mu is None else float(mu),
            clip_norm=None if clip is None else float(clip),
        )


def clip_updates(
    start: NDArray[np.float32], params: NDArray[np.float32], clip_norm: float
) -> NDArray[np.bool_]:
    """Shorten updates to a greatest L2 norm, in place.

    Args:
        start: Parameters from which the homes started, ``[size]`` or ``[homes, size]``.
        params: Parameters that they reached, float32 ``[homes, size]``.
        clip_norm: The greatest norm.

    Returns:
        Which updates were shortened, ``[homes]`` (Flower's ``norm_bit``).

    Source: McMahan et al., "Learning differentially private recurrent language models",
    ICLR 2018, section 2 (flat clipping).
    """
    # An update that is not finite stays so, for the server to drop; it is no warning here.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        update = params - start
        norms = np.linalg.norm(update, axis=1)
        scale = np.minimum(1.0, clip_norm / norms).astype(np.float32)
        np.add(start, update * scale[:, None], out=params)
    return np.asarray(scale < 1.0)
