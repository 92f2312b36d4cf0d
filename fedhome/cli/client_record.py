"""``fedhome client record``: readings into a home's store."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from fedhome.cli import ages
from fedhome.cli.broker_login import AuthoritiesOption, PasswordOption
from fedhome.cli.client_record_mqtt import BrokerOptions, broker_recording, is_broker
from fedhome.cli.console import Console, say
from fedhome.counted import counted
from fedhome.errors import RunError, SourceError

if TYPE_CHECKING:
    from fedhome.clients.recorded.recording import Filling, Recorded, Recorder

_MOST_SHOWN = 20  # refused lines of one file, on a terminal
_BY_LINES = frozenset({".csv", ".tsv", ".txt"})  # files that a pipe can bring, too
_NUMBER = re.compile(r"\d[\d,]*")


def record(
    folder: Annotated[Path, typer.Argument(help="The home's folder.", metavar="DIR")],
    source: Annotated[
        str | None,
        typer.Argument(
            help="CSV, JSON lines, Parquet, or a folder of such files; - for standard input, for "
            "as long as it comes; or a broker, as mqtt://broker.local (see --topic). Without it, "
            "the home's own files alone are taken in.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    *,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="How this source is read, such as decimal=, or time_zone=Europe/Vienna.",
            metavar="SETTING=VALUE",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on with what FILE, or a folder, gets; until Ctrl-C."),
    ] = False,
    without_data: Annotated[
        bool,
        typer.Option(
            "--without-data",
            help="Begin the store without the files that the home has read so far.",
        ),
    ] = False,
    keep_days: Annotated[
        float | None,
        typer.Option(
            help="Keep readings for this many days; 0: for ever. Kept in home.toml.",
            min=0.0,
            show_default=False,
        ),
    ] = None,
    within_s: Annotated[
        float,
        typer.Option(
            "--within",
            help="Seconds after which a line of a pipe, or a message, is on the disk; with "
            "--follow, between two looks.",
            min=0.01,
        ),
    ] = 5.0,
    topics: Annotated[
        list[str] | None,
        typer.Option(
            "--topic",
            help="Of a broker: what to take, such as 'zigbee2mqtt/+'; several may be named.",
            metavar="TOPIC",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            help="Of a broker: times are rounded down to it, such as 1s or 5m; of several readings "
            "within, the last counts.",
            metavar="LENGTH",
            show_default="1m",
        ),
    ] = None,
    time_field: Annotated[
        str | None,
        typer.Option(
            "--time",
            help="Of a broker: the field that says when a message was read, such as last_seen. "
            "Without it, the time of its arrival counts.",
            metavar="FIELD",
            show_default=False,
        ),
    ] = None,
    password_file: PasswordOption = None,
    authorities: AuthoritiesOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON each, as docs/json.md describes it.")
    ] = False,
) -> None:
    """Record readings in the home's sealed store; what it calls recorded is on the disk.

    The first time, the store begins with the files that the home has read so far (`data` in
    home.toml); from then on the home reads its store, and no longer those files. Lines that cannot
    be recorded are named, and the command ends with status 1.
    """
    from fedhome.clients.membership.home_folder import HomeFolder  # noqa: PLC0415
    from fedhome.clients.recorded.recording import Recorder  # noqa: PLC0415 - arrow
    from fedhome.plan.own_reading import parse_reading  # noqa: PLC0415

    options = BrokerOptions(
        topics=topics,
        every=every,
        time_field=time_field,
        password_file=password_file,
        authorities=authorities,
    )
    broker = _broker_of(source, options, follow=follow)
    home_folder = HomeFolder(folder)
    told = _Told(home_folder.settings.home, as_json=as_json)
    recorder = Recorder(home_folder, reading=parse_reading(sets or []), clock=ages.now)
    from_broker = None
    if broker:  # what is said of it is checked before the store is made
        from_broker = broker_recording(
            recorder,
            broker,
            options,
            told=lambda messages, done: told.done(broker, done, messages),
            waiting=told.waiting,
            stop=_stopping(),
            most_s=within_s,
        )
    if keep_days is not None:
        home_folder.change_settings(replace(home_folder.settings, keep_days=keep_days))
    begun = recorder.begin(filled=not without_data)
    if begun is not None:
        told.begun(begun)
    elif without_data:
        raise RunError(
            f"{home_folder.settings.home} has a store already: it cannot begin without its files",
            hint="leave --without-data out",
        )
    if from_broker is not None:
        told.noun = "message"
        from_broker.run()
        told.waiting(from_broker.summary)
        told.refused += from_broker.refused
    elif source == "-":
        _from_pipe(recorder, told, within_s)
    elif source is not None and follow:
        _followed(Path(source), recorder, told, within_s)
    elif source is not None:
        told.done(source, _recorded(recorder, Path(source), home=folder))
    elif begun is None:
        told.nothing()
    if told.refused:
        raise typer.Exit(1)


def _broker_of(source: str | None, options: BrokerOptions, *, follow: bool) -> str:
    """Return the source if it is the address of a broker, else nothing.

    Raises:
        SourceError: It is none, and something is said of one.
        RunError: It is to be followed, and goes on by itself.
    """
    broker = source if source is not None and is_broker(source) else ""
    if not broker:
        options.check_unused()
    if follow and (broker or source in {None, "-"}):
        raise RunError(
            "what is to be followed?", hint="name a file or a folder; a pipe and a broker go on"
        )
    return broker


def _from_pipe(recorder: Recorder, told: _Told, within_s: float) -> None:
    from fedhome.clients.recorded.streams import record_stream  # noqa: PLC0415

    stop = _stopping()
    record_stream(
        recorder,
        # Not sys.stdin: at its end Python waits for whoever reads from that.
        os.fdopen(os.dup(sys.stdin.fileno()), "rb"),
        lambda lines, done: told.done("-", done, lines),
        told.waiting,
        most_s=within_s,
        stop=stop,
    )
    if not told.came:
        told.waiting("nothing came by standard input, and nothing was recorded")


def _followed(path: Path, recorder: Recorder, told: _Told, within_s: float) -> None:
    from fedhome.clients.recorded.followed_files import FollowedFiles  # noqa: PLC0415

    told.several, stop = True, _stopping()
    followed = FollowedFiles(
        path,
        recorder,
        lambda path, lines, done: told.done(str(path), done, lines),
        told.waiting,
        pause=stop.wait,
    )
    while not stop.is_set():
        followed.look()
        stop.wait(within_s)


def _recorded(recorder: Recorder, path: Path, *, home: Path) -> Recorded:
    """Record a file; where it is refused whole, say how its other lines are recorded."""
    try:
        return recorder.file(path)
    except SourceError as error:
        if path.suffix.lower() not in _BY_LINES or not path.is_file():
            raise
        by_lines = f"`fedhome client record {quote(str(home))} - < {quote(str(path))}`"
        raise SourceError(
            error.message,
            hint=f"{error.hint}; nothing of the file is recorded now: {by_lines} records the lines "
            "that can be, and names the others",
        ) from None


def _stopping() -> threading.Event:
    """Return what Ctrl-C and SIGTERM set: what came is recorded first."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


class _Told:
    """What the command says, for people or for programs, as soon as it holds.

    Args:
        home: The home's name.
        as_json: For programs.

    Attributes:
        refused: Lines that were not recorded, so far.
        several: Whether what comes is of several files, which are named then.
        came: Whether anything has come so far.
        noun: What comes, one by one.
    """

    def __init__(self, home: str, *, as_json: bool) -> None:
        self._home, self._as_json = home, as_json
        self._out, self._notes = Console(soft_wrap=True), set[str]()
        self.refused, self.several, self.came = 0, False, False
        self.noun = "line"

    def begun(self, filling: Filling) -> None:
        """Say what the store began with."""
        if self._as_json:
            from fedhome.cli.json_readings import filling_recorded  # noqa: PLC0415

            self._line(asdict(filling_recorded(filling)))
        elif not filling.source:
            self._say(f"{self._home} has a store of readings now; nothing is in it")
        else:
            self._say(
                f"{self._home} has a store of readings now; it began with "
                f"{counted(filling.rows, 'row')} "
                f"of {filling.source}, which is not read any more"
            )
            self._tell_notes(filling.notes)

    def done(self, source: str, done: Recorded, lines: int | None = None) -> None:
        """Say what became of readings: they are on the disk."""
        self.refused, self.came = self.refused + len(done.refused), True
        done = replace(done, notes=self._untold(done.notes))
        if self._as_json:
            from fedhome.cli.json_readings import rows_recorded  # noqa: PLC0415

            self._line(asdict(rows_recorded(source, done, lines)))
            return
        up_to = "" if lines is None else f" up to {self.noun} {lines:,}"
        of = f" of {source}" if self.several else ""
        self._say(f"recorded {counted(done.rows, 'row')}{of}{up_to}: {_counts(done)}")
        for one in done.refused[:_MOST_SHOWN]:
            whole = " in full" if one.partly else ""
            self._say(f"{self.noun} {one.line:,} was not recorded{whole}: {one.why}")
        if (more := len(done.refused) - _MOST_SHOWN) > 0:
            self._say(f"{more:,} more {self.noun}s were not recorded: --json names all")
        for note in done.notes:
            self._say(f"note: {note}")

    def waiting(self, why: str) -> None:
        """Say what is waited for, to whoever looks on."""
        Console(stderr=True, soft_wrap=True).print(escape(why), highlight=False)

    def nothing(self) -> None:
        """Say that there is nothing to do."""
        self._say(f"{self._home} has a store of readings already; name what is to be recorded")

    def _tell_notes(self, notes: tuple[str, ...]) -> None:
        for note in self._untold(notes):
            self._say(f"note: {note}")

    def _untold(self, notes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the notes that were not given yet, whatever the numbers in them."""
        new = {_NUMBER.sub("#", note): note for note in reversed(notes)}
        told = {key: note for key, note in new.items() if key not in self._notes}
        self._notes |= told.keys()
        return tuple(note for note in notes if note in told.values())

    def _say(self, text: str) -> None:
        say(self._out, text, wrapped=True)
        sys.stdout.flush()

    def _line(self, told: dict[str, object]) -> None:
        typer.echo(json.dumps(told))
        sys.stdout.flush()


def _counts(done: Recorded) -> str:
    said = [
        (done.new, "new"),
        (done.filled, "completed earlier ones"),
        (done.replaced, "put other readings in the place of earlier ones"),
        (done.known, "known already"),
        (done.late, "of the new ones late"),
        (done.gone, "too old to be kept"),
    ]
    return ", ".join(f"{count:,} {what}" for count, what in said if count) or "nothing new"
