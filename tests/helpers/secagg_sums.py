"""What tests of secure sums share: a sum that is ready to be opened, and a refusal's reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedhome.errors import SecAggError
from helpers.secagg_world import Sum, World


def refused(error: type[SecAggError], reason: str, call: Callable[[], object]) -> None:
    with pytest.raises(error) as caught:
        call()
    assert caught.value.reason == reason, caught.value


def ready(count: int = 8, *, drop: tuple[str, ...] = (), vote: bool = True, **changes: Any) -> Sum:
    """Return a sum to which all homes but some sent their update, and on which all voted."""
    sum_ = World.of(count).draw_up(**changes)
    for home in sum_.bundles:
        sum_.join(home)
    for home in sum_.bundles:
        if home not in drop:
            sum_.upload(home)
    if vote:
        sum_.vote()
    return sum_
