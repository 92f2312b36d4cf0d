"""Which homes a run goes on without: told once in its log, with the reason, until they are back."""

from __future__ import annotations

from collections.abc import Collection

from fedhome.run.absent import AWAY, BACK
from fedhome.run.events import EventLog

NOT_CONNECTED = "they are not connected"
LATE = "they were late too often: they are asked again once they answer a small question"


class Absences:
    """The absences of a run.

    Args:
        log: The run's log.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._away: dict[str, str] = {}

    def see(self, homes: Collection[str], online: Collection[str], asked: Collection[str]) -> None:
        """Take note of who can be asked something now.

        Args:
            homes: The fleet's homes.
            online: Those that are connected.
            asked: Those of them that are asked; the others were late too often.
        """
        now = {
            home: LATE if home in online else NOT_CONNECTED for home in homes if home not in asked
        }
        back = sorted(self._away.keys() - now.keys())
        if back:
            self._log.append(BACK, homes=back)
        for reason in (NOT_CONNECTED, LATE):
            new = [home for home in now if now[home] == reason != self._away.get(home)]
            if new:
                self._log.append(AWAY, homes=sorted(new), reason=reason)
        self._away = now
