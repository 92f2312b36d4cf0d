"""How a server is, in words and numbers: what its own processes tell, and commands show.

Nothing costly is imported here: a command that only shows a status is to be quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from fedhome.server.rounds.left_out_home import LeftOutHome


@dataclass(frozen=True, kw_only=True)
class RefusingHome:
    """A home that refuses what it is asked, or did not connect.

    Args:
        home: Its name.
        question: Type of the question; ``answer``: the server has not kept its answer; empty: it
            does not connect.
        reason: The word that it told, or that the server told it (:mod:`fedhome.reasons`).
        why: What the word means.
        remedy: Who does what about it.
        since: When that was said, ISO 8601 in UTC.
    """

    home: str
    question: str
    reason: str
    why: str
    remedy: str
    since: str


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """How the run in progress is, or how the last one ended.

    Args:
        name: Its folder in ``runs/``.
        state: ``running``, which it is until it has ended, whether or not the server is up;
            ``finished``, ``failed`` or ``cancelled``.
        reason: Why it failed.
        hint: What can be done about that.
        round: The last round that is done.
        rounds: Rounds in its plan, at most; 0 before it has begun.
        event: Kind of the last event in its log.
        time: When that was, ISO 8601 in UTC.
        waits: What it waits for, as a clause; empty if it does not.
        again: Whether the server takes it up again by itself, where it failed.
        refusing: Homes that refuse what the run asks them.
    """

    name: str
    state: str
    reason: str
    hint: str
    round: int = 0
    rounds: int = 0
    event: str = ""
    time: str = ""
    waits: str = ""
    again: bool = False
    refusing: tuple[RefusingHome, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReleaseStatus:
    """The newest release of the server's registry.

    Args:
        number: Its number.
        hash: Its hash, hexadecimal.
        run: Name of the run that made its model.
        round: The round.
    """

    number: int
    hash: str
    run: str
    round: int


@dataclass(frozen=True, kw_only=True)
class TimetableStatus:
    """The runs that a server begins by itself.

    Args:
        plan: Name of their plan.
        every_s: From one to the next, s.
        at: Time of the day, ``HH:MM``; empty: at any.
        time_zone: Zone of that.
        following: When the next one is due, ISO 8601 in UTC.
        text: How often, in words.
    """

    plan: str
    every_s: int
    at: str
    time_zone: str
    following: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """How a server is.

    Args:
        version: Release and build of fedhome that its front runs; of the command's own where that
            does not answer.
        other_builds: Release and build of each home that joined last by another one, by name.
        running: Whether its daemon runs.
        starting: Whether its processes are being started, so that some do not answer yet.
        front: Whether the front answers.
        link: Whether the SuperLink does.
        address: ``host:port`` by which homes reach it.
        certificate_ends: Last day of its certificate, ISO 8601.
        certificate_days: Days until then.
        fleet: The fleet's number, hexadecimal.
        epoch: Epoch of the directory; 0 for none.
        directory_ends: Last day of the directory, ISO 8601; empty for none.
        directory_days: Days until then; 0 for none.
        homes: Homes in it.
        connected: Names of those that are connected; None if there is nobody to ask.
        pending: Enrolments that wait for the fleet's owner.
        run: The run in progress, or the last one.
        release: The newest release.
        left_out: Homes that runs ask nothing more.
        refusing: Homes that do not connect: they refuse what the server says, or it refuses them;
            and those whose last answer the server has not kept.
        page: Address of the page for operators; empty for none.
        timetable: The runs that it begins by itself; None: it begins none.
        faults: What is wrong, a sentence each.
    """

    version: str
    other_builds: dict[str, str]
    running: bool
    starting: bool
    front: bool
    link: bool
    address: str
    certificate_ends: str
    certificate_days: int
    fleet: str
    epoch: int
    directory_ends: str
    directory_days: int
    homes: int
    connected: list[str] | None
    pending: int
    run: RunStatus | None
    release: ReleaseStatus | None
    left_out: list[LeftOutHome]
    refusing: list[RefusingHome]
    page: str
    faults: list[str]
    timetable: TimetableStatus | None = None

    def as_json(self) -> dict[str, object]:
        """Return it as nested tables."""
        return asdict(self)

    @classmethod
    def from_json(cls, tables: Mapping[str, Any]) -> Self:
        """Return the status that `as_json` gave.

        Raises:
            TypeError: It is none of this release's.
            KeyError: The same.
        """
        run, release, timetable = tables["run"], tables["release"], tables["timetable"]
        nested = {
            "run": run and RunStatus(**{**run, "refusing": _homes(run["refusing"])}),
            "release": release and ReleaseStatus(**release),
            "timetable": timetable and TimetableStatus(**timetable),
            "left_out": [LeftOutHome(**one) for one in tables["left_out"]],
            "refusing": list(_homes(tables["refusing"])),
        }
        return cls(**{**tables, **nested})


def _homes(tables: list[dict[str, str]]) -> tuple[RefusingHome, ...]:
    return tuple(RefusingHome(**one) for one in tables)
