"""The run's log: JSON lines, one event each, chained by hashes.

Progress, audit and report all read this one file. Each line is an object in canonical form
(sorted keys, no spaces, ASCII) with

======== =====================================================================
``seq``   number of the event, from 0
``time``  UTC, ISO 8601 with milliseconds
``event`` kind, in lower-case words joined by hyphens
``data``  what happened, as JSON; a number that is not finite becomes null, and
          its path and value are recorded as text under ``not_finite``
``prev``  SHA-256 of the previous line's bytes without its newline; zeros first
``hash``  SHA-256 of the canonical JSON of the other five
======== =====================================================================

Kinds that the report understands, with the data that it looks for (all optional):

- ``run-started``, ``run-resumed``, ``fleet-ready``: plan, data, engine, seed, aggregation, score
  (the name of the primary metric), homes, command (text, or a list of arguments), versions
  (name to version), features and outputs (how wide the model's ends are)
- ``release-in-use``: release, run and round of what homes use when the run begins; fits, reason
- ``begins-with``: plan and round of the model that the run begins with
- ``round-closed``: round; the numbers are in ``rounds.parquet``
- ``round-failed``, ``round-unused``: round, homes, needed, reason; where it is repeated also
  attempt (how many have failed) and again_s (after how long)
- ``waiting``: round (0: before the first), what is lacking (homes, or members of the committee),
  there, of, needed, missing and left_out (names); ``waiting-over``: round, seconds
- ``sum-failed``: round, stage, homes, reason: a group's sum was not opened
- ``homes-left-out``: homes (names), reason: they or one of them spoiled sums; asked no more
- ``weights-counted``, ``scores-counted``: what the server learnt in sums over all homes; with noise
  ``noise_homes``: the standard deviation of each count's noise, in homes
- ``personalisation-chosen``: rate, epochs, matrix, strength, alone: what the fleet chose for its
  homes' mixtures
- ``trying-new-homes``: homes, days: in a simulation, homes that took no part in the rounds
- ``privacy-spent``: round, stage, and what the run has cost each home so far, this sum included:
  rho, epsilon, delta; mechanism, noise_multiplier
- ``reply-dropped``: round, stage, home, reason: what it sent is of no use, or it sent nothing
- ``homes-late``: round, stage, homes (names), reason: nobody waited for them any more
- ``homes-passed-over``: round, stage, homes (names), reason: they were there, and a sum is taken
  without them, since with them it would tell few homes apart from an earlier one
- ``homes-empty-handed``: round, stage, group, homes: how many had nothing to add to a sum; told
  whenever it is another number than before
- ``sum-taken-again``: round, stage, homes: how many are in a sum that was opened, or half opened,
  before; missing: why the others are not, by name; reason
- ``homes-not-tried``: homes (names) that sums are without for now, to find out who spoils them;
  told whenever they are others; none: the search goes on with all
- ``home-excluded``: home, reason
- ``home-refused``: home, question, reason (a word of :mod:`fedhome.reasons`), why, remedy; told
  once, until ``home-answers``: home, question: it does again
- ``homes-away``: homes (names) that the run goes on without, reason; told once, until
  ``homes-back``: homes
- ``tier-carried``: tier, carries (in words), homes, numbers, bytes_up, memory, step_ms: a kind of
  device, its slice of the model, and what that costs it (:mod:`fedhome.learning.slice_costs`);
  text, the same as a sentence; names (of the homes): of a fleet, where its plan does not tell
- ``tier-scored``: tier, text: in a simulation, what the homes of a tier came to, in a sentence
- ``note``: text
- ``readings``: text; how homes were read whose files are alike
- ``early-stop``: round, best_loss
- ``model-judged``: round, loss: homes' in validation once they have adapted the round's model, by
  rate and epochs
- ``rates-tried``: round, train, server, loss: what came of an attempt at rates (multiples of homes'
  and of the server's), as of ``model-judged``; ``rates-chosen``: the same of the one that the run
  goes on from, and tried, how many there were
- ``model-picked``: round, loss, adapted: the run ends with an earlier round's model than its last
- ``model-released``, ``release-kept``, ``release-failed``: round, release, reason: whether what the
  run ended with takes the place of the release in use
- ``models-removed``: releases (numbers) whose model is gone, kept: how many keep theirs
- ``run-finished``: rounds, seconds
- ``run-failed``: reason, hint, again (whether a server tries it again by itself)
- ``log-repaired``: bytes, written by the log itself

What the chain shows: a line that was altered, removed or put in. What it cannot show by itself:
lines cut off at the end, or a log that was written anew from the start. For those, keep
:attr:`EventLog.head` where the writer of the log cannot reach it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from fedhome.denied import check_ordinary
from fedhome.errors import EventLogError
from fedhome.run.event_json import Json, as_json, canonical, stamp

_START = b'{"data":'  # of each line: the first of its names by the alphabet
_MOST_LINE = 1 << 26  # bytes: one that names a million homes has some ten million

FIRST = "0" * 64
SPENT = "privacy-spent"
KIND = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the log.

    Args:
        seq: Number of the event, from 0.
        time: When it was written, in UTC.
        event: Its kind, such as ``"round-closed"``.
        data: What happened.
        prev: SHA-256 of the previous line, 64 hexadecimal digits; zeros for the first.
        hash: SHA-256 of this event's other fields, 64 hexadecimal digits.
    """

    seq: int
    time: datetime
    event: str
    data: Mapping[str, Json]
    prev: str
    hash: str


class EventLog:
    """An append-only log of a run; opens an existing one and goes on with it.

    A last line without its newline is what a killed process leaves behind: it is cut off, and
    an event ``log-repaired`` says how many bytes it had.

    Args:
        path: The file; it is made where there is none, its folder must exist.
        on_event: Called with each event after it is in the file. What it raises reaches
            the caller of :meth:`append`; the event stays written.
        clock: Where the time comes from.

    Raises:
        EventLogError: The existing log was altered, is a link or no log, or cannot be opened.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        on_event: Callable[[Event], None] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = Path(path)
        self._clock = clock
        self._subscribers = [on_event] if on_event else []
        self._lock = threading.RLock()
        self._seq, self._head, self._size = 0, FIRST, 0
        check_ordinary(EventLogError, self.path)
        try:
            self._file = open(  # noqa: SIM115 - for as long as the log is open
                self.path, "a+b", buffering=0, opener=_no_link
            )
        except OSError as error:
            raise EventLogError(
                f"{self.path} cannot be opened: {type(error).__name__}",
                hint="the run's folder must exist and be writable, and the log no link",
            ) from error
        try:
            self._go_on()
        except BaseException:
            self._file.close()
            raise

    @property
    def head(self) -> str:
        """SHA-256 of the last line; whoever stores it can tell later whether lines are missing."""
        return self._head

    def subscribe(self, on_event: Callable[[Event], None]) -> None:
        """Have ``on_event`` called with every event from now on, in the order of the log."""
        with self._lock:
            self._subscribers.append(on_event)

    def append(self, event: str, /, **data: object) -> Event:
        """Write one event and return it.

        Args:
            event: Its kind: lower-case words joined by hyphens.
            data: JSON-like values; numpy scalars and arrays, paths and times are taken too.

        Raises:
            EventLogError: The log is closed, another process wrote to it, the disk is full,
                or the kind or a value cannot be written. Nothing is written then.
        """
        if not KIND.fullmatch(event):
            raise EventLogError(
                f"{event!r} is not a kind of event",
                hint='use lower-case words joined by hyphens, such as "round-closed"',
            )
        with self._lock:
            self._check_ours()
            body = {
                "seq": self._seq,
                "time": stamp(self._clock()),
                "event": event,
                "data": as_json(event, data),
                "prev": self._head,
            }
            line = canonical(body | {"hash": _hash(body)})
            self._write(line + b"\n")
            self._seq, self._head = self._seq + 1, hashlib.sha256(line).hexdigest()
            appended = _event(body | {"hash": _hash(body)})
            for subscriber in tuple(self._subscribers):
                subscriber(appended)
        return appended

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _go_on(self) -> None:
        torn = 0
        with self.path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    if not self._seq and not _begins_a_log(line):
                        raise _bad(self.path, 0, "is not an event, and is left as it is")
                    torn = len(line)
                    break
                _verify_line(self.path, line[:-1], self._seq, self._head)
                self._seq += 1
                self._head = hashlib.sha256(line[:-1]).hexdigest()
                self._size += len(line)
        if torn:
            self._file.truncate(self._size)
            self.append("log-repaired", bytes=torn)

    def _check_ours(self) -> None:
        if self._file.closed:
            raise EventLogError(f"{self.path} is closed", hint="open the log again to go on")
        size = os.fstat(self._file.fileno()).st_size
        if size != self._size:
            raise EventLogError(
                f"{self.path} has {size} bytes where {self._size} were written: "
                "another process has changed it",
                hint="let one process at a time write to a run's folder",
            )

    def _write(self, line: bytes) -> None:
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, "the disk took a part of the line")  # noqa: TRY301 - undone below
        except OSError as error:
            # Half a line would end the log for good: later lines would be glued to it. Where not
            # even that can be undone, whoever opens the log again cuts it off.
            with suppress(OSError):
                self._file.truncate(self._size)
            raise EventLogError(
                f"{self.path} cannot be written: {error.strerror or error}",
                hint="make room on the disk; then the run can be resumed",
            ) from error
        self._size += len(line)


def read_events(path: Path | str, *, skip_torn: bool = False) -> list[Event]:
    """Read a log and verify its whole chain.

    Args:
        path: The log.
        skip_torn: Leave out a last line without its newline, which a killed writer leaves
            behind and a working one may be about to finish; else it is an error.

    Raises:
        EventLogError: There is no such file, or the first bad line with what is wrong.
    """
    path = Path(path)
    check_ordinary(EventLogError, path)
    try:
        with path.open("rb") as lines:
            pieces = iter(lambda: lines.readline(_MOST_LINE), b"")
            return list(events_in(path, pieces, skip_torn=skip_torn))
    except OSError as error:
        raise EventLogError(
            f"{path} cannot be read: {type(error).__name__}", hint="is this a run's folder?"
        ) from error


def events_in(
    path: Path,
    lines: Iterable[bytes],
    *,
    first: int = 0,
    prev: str = FIRST,
    skip_torn: bool = False,
) -> Iterator[Event]:
    """Yield the events of a log's lines, each checked to follow the one before it.

    Args:
        path: The log, for messages.
        lines: The lines, each with its end.
        first: Number of the first of them.
        prev: SHA-256 of the line before that, 64 hexadecimal digits.
        skip_torn: As of :func:`read_events`.

    Raises:
        EventLogError: The first bad line with what is wrong.
    """
    for seq, line in enumerate(lines, first):
        if len(line) >= _MOST_LINE:  # the folder may be somebody else's, and the log a hole
            raise _bad(path, seq, "is longer than any event")
        if not line.endswith(b"\n"):
            if skip_torn:
                return
            raise _bad(path, seq, "is torn: its end is missing")
        yield _verify_line(path, line[:-1], seq, prev)
        prev = hashlib.sha256(line[:-1]).hexdigest()


def _no_link(name: str, flags: int) -> int:
    """Open a file that is written to: the folder may be somebody else's, who laid a link there."""
    return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _begins_a_log(torn: bytes) -> bool:
    """Return whether a file's only bytes may be the start of a log: whatever else it is, is kept.

    After a power cut they may be zeros.
    """
    return torn.startswith(_START) or _START.startswith(torn) or not torn.strip(b"\0")


def _verify_line(path: Path, line: bytes, seq: int, prev: str) -> Event:
    try:
        fields = json.loads(line)
        event = _event(fields)
        body = {name: value for name, value in fields.items() if name != "hash"}
        as_written = canonical(fields) == line
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _bad(path, seq, "is not an event") from None
    if event.hash != _hash(body) or not as_written:
        raise _bad(path, seq, "was altered: its content does not have its hash")
    if event.prev != prev or event.seq != seq:
        raise _bad(path, seq, "does not follow the line before it: lines were altered or removed")
    return event


def _bad(path: Path, seq: int, what: str) -> EventLogError:
    return EventLogError(
        f"{path}, line {seq + 1} {what}",
        hint="the lines before it can be trusted; take the rest from a copy",
    )


def _event(fields: Mapping[str, object]) -> Event:
    """Return checked fields as an event; what is missing or of another type raises."""
    seq, event, data = fields["seq"], fields["event"], fields["data"]
    time, prev, own = fields["time"], fields["prev"], fields["hash"]
    if not (
        len(fields) == len(Event.__dataclass_fields__)
        and type(seq) is int
        and isinstance(event, str)
        and isinstance(data, dict)
        and isinstance(time, str)
        and isinstance(prev, str)
        and isinstance(own, str)
    ):
        raise TypeError
    when = datetime.fromisoformat(time)
    return Event(seq=seq, time=when, event=event, data=data, prev=prev, hash=own)


def _hash(body: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical(body)).hexdigest()
