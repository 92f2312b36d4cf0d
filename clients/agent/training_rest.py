"""Training waits while its device is hot or busy: a home's guest does not heat or slow it.

It is looked at before each training of some passes, once in a second at most. What has begun ends:
on a small network that is a moment, and it goes at the lowest priority that the home's settings
give. Who waits too long takes no part this time, as any home that is away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from fedhome.clients.membership.home_folder import HomeSettings
from fedhome.errors import EngineError
from fedhome.ops.device_load import DeviceLoad, device_load
from fedhome.plan.settings import Plan

_COOLER_C = 5.0  # below what it waited for: at the limit itself it would wait again at once
_CALMER = 0.8
_AGAIN_S = 5.0
_OFTEN_S = 1.0
_SHARE = 0.5  # of the time in which an answer must come
_log = logging.getLogger("fedhome.agent")


@dataclass(frozen=True, kw_only=True)
class RestLimits:
    """When training waits.

    Args:
        hottest_c: Above this temperature, °C; 0: it does not matter.
        busiest: Above this many processes that run or wait, for each processor; 0: it does not
            matter.
        longest_s: For how long at most, in one question; then the question fails.
    """

    hottest_c: float
    busiest: float
    longest_s: float

    @classmethod
    def of(cls, settings: HomeSettings, plan: Plan) -> RestLimits:
        """Return those that the home's owner set, within the time that the plan gives.

        Args:
            settings: The home's settings.
            plan: The home's plan.
        """
        rounds = plan.rounds
        return cls(
            hottest_c=settings.train_below_c,
            busiest=settings.train_below_load,
            longest_s=_SHARE * (rounds.reply_after_s or rounds.deadline_s),
        )


class TrainingRest:
    """Waits before a training until the device is cool and calm.

    Args:
        limits: When.
        tell: Told why it waits, in words, and nothing (``""``) when it goes on.
        read: Tells how hot and how busy the device is.
        sleep: Waits this many seconds.
        clock: Seconds.
    """

    def __init__(
        self,
        limits: RestLimits,
        tell: Callable[[str], None],
        *,
        read: Callable[[], DeviceLoad] = device_load,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._tell = limits, tell
        self._read, self._sleep, self._clock = read, sleep, clock
        self._looked: float | None = None
        self._waited_s = 0.0

    def begin_question(self) -> None:
        """Begin anew to count how long a question has waited."""
        self._waited_s = 0.0

    def wait(self) -> None:
        """Return when the device is cool and calm.

        Raises:
            EngineError: It is not so in time.
        """
        now = self._clock()
        if self._looked is not None and now - self._looked < _OFTEN_S:
            return
        self._looked = now
        if not (why := self._why(self._read(), 0.0, 1.0)):
            return
        _log.warning("training waits: %s", why)
        self._tell(f"training waits: {why}")
        try:
            while why:
                if self._waited_s >= self._limits.longest_s:
                    raise EngineError(
                        f"training waited {self._waited_s:.0f} s in vain: {why}",
                        hint="cool the device, or change train_below_c or train_below_load in its "
                        "home.toml",
                    )
                self._sleep(_AGAIN_S)
                self._waited_s += _AGAIN_S
                why = self._why(self._read(), _COOLER_C, _CALMER)
        finally:
            self._looked = self._clock()
            self._tell("")
        _log.info("training goes on")

    def _why(self, load: DeviceLoad, cooler_c: float, calmer: float) -> str:
        """Return why it is to wait, with limits that are lower by this much; empty: it need not."""
        limits = self._limits
        most_c, most = limits.hottest_c - cooler_c, limits.busiest * calmer
        if limits.hottest_c and load.hottest_c is not None and load.hottest_c > most_c:
            return f"the device is at {load.hottest_c:.0f} °C, and may be at {most_c:.0f}"
        if limits.busiest and load.busy is not None and load.busy > most:
            return (
                f"{load.busy:.1f} processes a processor run or wait to run on the device, and "
                f"{most:.1f} may"
            )
        return ""
