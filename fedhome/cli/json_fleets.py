"""What commands on a fleet and on a home print with `--json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedhome.server.daemon.server_status import TimetableStatus


@dataclass(frozen=True, kw_only=True)
class ListedHome:
    """A home on the owner's list.

    Args:
        home: Its name.
        eligible: Whether it may serve on the committee.
        tier: Which slice of the model its device carries; empty: none is named.
        fingerprint: Of its keys.
        change: What the next directory changes about it; empty: nothing.
    """

    home: str
    eligible: bool
    tier: str
    fingerprint: str
    change: str


@dataclass(frozen=True, kw_only=True)
class InviteEntry:
    """An invite that nobody has answered, or whose answer waits.

    Args:
        home: Whom it makes a home.
        expires: Until when, Unix time in s.
    """

    home: str
    expires: int


@dataclass(frozen=True, kw_only=True)
class FleetShown:
    """Who is in a fleet.

    Args:
        fleet: Its number, hexadecimal.
        epoch: Epoch of the last directory; 0 before the first.
        expires: Until when that holds, Unix time in s; null before the first.
        committee: How many homes open sums by it; null before the first.
        corrupt: How many of these may work for an attacker; null before the first.
        answers: How many must answer to open a sum; null before the first.
        homes: Homes of that directory, and those on the list.
        invites: Open invites.
        threshold: How many of the owner's keys must sign.
        keys: Names of these keys.
    """

    fleet: str
    epoch: int
    expires: int | None
    committee: int | None
    corrupt: int | None
    answers: int | None
    homes: list[ListedHome]
    invites: list[InviteEntry]
    threshold: int
    keys: list[str]


@dataclass(frozen=True, kw_only=True)
class HomeShown:
    """What a home does, and what it has.

    Args:
        home: Its name.
        fleet: The fleet's number, hexadecimal.
        running: Whether its agent runs.
        state: `waiting`, `connected`, `paused` or `stopped`, as the agent said last; null: it
            has said nothing yet.
        detail: One sentence more.
        reason: The word for what keeps it from taking part; empty: nothing does.
        time: When the agent said so, Unix time in s; null: never.
        process: The agent's process; null: it does not run.
        paused: Whether it was told to take no part for now.
        left: Whether it has left its fleet.
        servers: Where it looks for its server, the first first.
        tier: Which slice of the model its device carries; empty where the plan has none.
        data: Its readings.
        data_there: Whether they are there.
        answered: Messages answered since the agent was started.
        last: What was answered last; empty: nothing yet.
        last_time: When, Unix time in s; null: never.
        epoch: Epoch of its directory; 0 for none.
        directory: Hash of its directory, hexadecimal; empty for none.
        directory_expires: Until when that holds, Unix time in s; null for none.
        release: Number of the release in use; null for none.
        release_hash: Its hash, hexadecimal; empty for none.
        own_model: Name of the run that made the model of its own; empty for none.
        consent: When its people agreed, Unix time in s; null: there is no consent.
        consent_holds: Whether that is to the plan in its folder.
        faults: What is wrong, a sentence each.
    """

    home: str
    fleet: str
    running: bool
    state: str | None
    detail: str
    reason: str
    time: float | None
    process: int | None
    paused: bool
    left: bool
    servers: list[str]
    tier: str
    data: str
    data_there: bool
    answered: int
    last: str
    last_time: float | None
    epoch: int
    directory: str
    directory_expires: int | None
    release: int | None
    release_hash: str
    own_model: str
    consent: float | None
    consent_holds: bool
    faults: list[str]


@dataclass(frozen=True, kw_only=True)
class ConsentShown:
    """What a home's people agreed to.

    Args:
        text: What they were shown.
        plan: SHA-256 of the plan, hexadecimal.
        time: When they agreed, Unix time in s.
        release: The release of fedhome that showed it.
    """

    text: str
    plan: str
    time: float
    release: str


@dataclass(frozen=True, kw_only=True)
class RunSpent:
    """What a run has cost a home.

    Args:
        run: The run, hexadecimal.
        sums: Sums that it took part in.
        epsilon: What they cost.
    """

    run: str
    sums: int
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class PrivacySpent:
    """What sums have cost a home in privacy.

    Args:
        noise: Whether its plan adds noise; without, sums have no bound in privacy.
        epsilon: What all runs have cost, against a home that adds nothing but its noise.
        epsilon_between: The same between any two contents of its readings.
        delta: For which that holds.
        ceiling: What all runs may cost; null without noise.
        ceiling_set: Whether that was set here; else it is the plan's own.
        runs: What each run has cost.
    """

    noise: bool
    epsilon: float
    epsilon_between: float
    delta: float
    ceiling: float | None
    ceiling_set: bool
    runs: list[RunSpent]


@dataclass(frozen=True, kw_only=True)
class LedgerLine:
    """A sum that a home answered, or helped to open.

    Args:
        part: What it did.
        day: The day, UTC, ISO 8601.
        round: The round.
        what: What was asked.
        attempts: How often.
        subject: What was asked about which model, hexadecimal.
    """

    part: Literal["answered", "opened"]
    day: str
    round: int
    what: str
    attempts: int
    subject: str


@dataclass(frozen=True, kw_only=True)
class ScheduleShown:
    """The runs that a server begins by itself.

    Args:
        running: Whether the server runs: none begins while it does not.
        timetable: When they begin; null: none does.
    """

    running: bool
    timetable: TimetableStatus | None
