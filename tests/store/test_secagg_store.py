"""A home's state on disk: sealed, replaced whole, and never an older one again."""

from __future__ import annotations

import base64
import errno
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.errors import StateError
from fedhome.fleet.state_file import KEY, MARK, STATE, FileStore
from fedhome.keys.sealing import SealedFile, SealingKey
from fedhome.reasons import PEOPLES
from fedhome.secagg.bundle import Secrets
from fedhome.secagg.directory import HomeKeys
from fedhome.secagg.ledger import Ledger, LedgerEntry
from fedhome.secagg.state import HomeState, Opening
from fedhome.store import disk
from helpers.examples import share_of
from helpers.other_account import NOBODY, by_nobody, interpreter, open_folder

WORDS, OTHER_WORDS = "Stra\u00dfe nach \u00c5by", "Strasse nach Aby"
IDENTITY, SHARE = bytes(range(32)), bytes(range(100, 132))
STEPS = 10  # of a save: twice open and fsync, then twice rename, open and fsync of the folder


class Crash(Exception):  # noqa: N818 - it stands for a power cut
    """Not an OSError, so nothing tidies up after it."""


def keys(home: str = "oak") -> HomeKeys:
    return HomeKeys(home, IDENTITY, SHARE)


def secrets(number: int) -> Secrets:
    return Secrets(key=bytes([number]) * 32, blind=bytes([100 + number]) * 32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A home of one saved bundle: version 1."""
    with FileStore.create(tmp_path / "oak", keys()) as store:
        store.save(store.state.with_bundle(secrets(1)))
    return tmp_path / "oak"


def opened(folder: Path, **arguments: Any) -> HomeState:
    with FileStore.open(folder, **arguments) as store:
        return store.state


def refused(folder: Path, **arguments: Any) -> str:
    with pytest.raises(StateError) as caught:
        opened(folder, **arguments)
    assert str(folder) in caught.value.message or "'oak'" in caught.value.message
    assert caught.value.hint
    return caught.value.reason


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def failing(at: int, error: Exception, *names: str) -> Iterator[list[str]]:
    """Let the ``at``-th call of some functions of ``os`` raise instead; yield the calls."""
    calls: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            calls.append(name)
            if len(calls) == at:
                raise error
            return real(*arguments, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in names or ("open", "fsync", "replace"):
            patch.setattr(os, name, counted(name, getattr(os, name)))
        yield calls


bytes32 = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, 2**63 - 1)
entries = st.builds(
    LedgerEntry,
    subject=bytes32,
    group=st.integers(0, 9),
    epoch=numbers,
    manifest=bytes32,
    round=numbers,
    day=st.integers(0, 1 << 20),
    attempts=st.integers(1, 8),
    kind=st.sampled_from(["train", "evaluate", ""]),
)
ledgers = st.tuples(st.lists(entries, max_size=4), st.binary(max_size=32)).map(
    lambda some: Ledger({entry.key: entry for entry in some[0]}, some[1][: len(some[1]) // 8 * 8])
)
ENTRY = LedgerEntry(
    subject=bytes(32), group=0, epoch=1, manifest=bytes(32), round=1, day=1, kind="train"
)
states = st.builds(
    HomeState,
    version=st.integers(1, 2**63 - 1),
    epoch=numbers,
    directory=st.just(b"") | bytes32,
    sum_number=numbers,
    serial=numbers,
    live=st.dictionaries(
        st.integers(1, 2**63 - 1), st.builds(Secrets, key=bytes32, blind=bytes32), max_size=4
    ),
    openings=st.lists(
        st.builds(
            Opening,
            home=st.text("abcé", min_size=1, max_size=9),
            serial=numbers,
            manifest=bytes32,
            arrived=st.booleans(),
        ),
        max_size=4,
    ).map(lambda some: {one.home: one for one in some}),
    day=st.integers(0, 1 << 20),
    today=st.integers(0, 1 << 20),
    answered=ledgers,
    opened=ledgers,
    periods=st.dictionaries(st.integers(0, 1 << 32), bytes32, max_size=3),
    ring=st.binary(max_size=200),
)


@pytest.mark.long
@settings(max_examples=share_of(30))
@given(states)
def test_what_is_saved_is_loaded(state: HomeState) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with FileStore.create(folder, keys()) as store:
            store.save(state)
        with FileStore.open(folder, home="oak") as store:
            assert store.state == state
            assert store.keys.to_bytes() == keys().to_bytes()


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with FileStore.create(tmp_path / "oak", keys()) as store:
            store.save(store.state.with_bundle(secrets(1)))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "oak").iterdir()}
    assert modes == {STATE: 0o600, MARK: 0o600, KEY: 0o600}
    assert stat.S_IMODE((tmp_path / "oak").stat().st_mode) == 0o700
    (tmp_path / "oak" / KEY).chmod(0o640)
    assert refused(tmp_path / "oak") == "permissions"


_REPLACE = """\
import json, os, sys
folder = json.load(sys.stdin)
try:
    os.rename(f"{folder}/fleet.pub", f"{folder}/fleet.old")
    with open(f"{folder}/fleet.pub", "w") as file:
        file.write("another fleet")
    print("replaced")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_every_account_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Also one that was there before, and also where only its own folder is so."""
    folder = tmp_path / "oak"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StateError, match="every account of this machine may write") as error:
        FileStore.create(folder, keys())
    assert error.value.reason == "permissions"
    assert list(folder.iterdir()) == []
    folder.chmod(0o755)
    FileStore.create(folder, keys()).close()
    folder.chmod(mode)
    assert refused(folder) == "permissions"
    folder.chmod(0o770)  # a group is its people's own affair
    FileStore.open(folder).close()


def test_a_folder_of_another_account_is_refused_also_by_root() -> None:
    """Whoever made ``oak`` in a folder of all accounts, before a home was made there, owns it."""
    with open_folder() as folder:
        place = folder / "oak"
        FileStore.create(place, keys()).close()
        disk.put(place / "fleet.pub", b"this fleet")
        place.chmod(0o755)
        other = pwd.getpwnam(NOBODY).pw_uid if interpreter() else 0
        os.chown(place, other, other)
        with pytest.raises(
            StateError, match=f"belongs to another account .number {other}"
        ) as error:
            FileStore.open(place)
        assert error.value.reason == "permissions"
        assert by_nobody(_REPLACE, str(place)).strip() == "replaced"  # the control
        os.chown(place, os.geteuid(), os.getegid())
        FileStore.open(place).close()


def test_what_another_account_does_in_such_a_folder() -> None:
    """It exchanges what the home knows its fleet by, though it may read no file."""
    with open_folder() as folder:
        FileStore.create(folder / "oak", keys()).close()
        anchor = folder / "oak" / "fleet.pub"
        disk.put(anchor, b"this fleet")
        assert by_nobody(_REPLACE, str(folder / "oak")).strip() == "PermissionError"
        assert anchor.read_bytes() == b"this fleet"
        (folder / "oak").chmod(0o777)  # the control
        assert by_nobody(_REPLACE, str(folder / "oak")).strip() == "replaced"
        assert anchor.read_bytes() == b"another fleet"
        assert refused(folder / "oak") == "permissions"


def test_no_secret_lies_open(folder: Path) -> None:
    everything = b"\n".join(files(folder).values())
    hidden = (IDENTITY, SHARE, secrets(1).key, secrets(1).blind)
    assert len(everything) > 500
    for secret in hidden:
        for form in (secret, secret.hex().encode(), base64.b64encode(secret)[:40]):
            assert form not in everything
    inside = unsealed(folder)
    assert all(secret in inside for secret in hidden)  # the test looks for the right bytes


def unsealed(folder: Path) -> bytes:
    """Return what an attacker with the key finds in all files of a home."""
    key = SealingKey(disk.read_key(folder / KEY))
    found = [b""]
    for path in folder.iterdir():
        if path.name != KEY:
            purpose = "home's state" if path.name.startswith(STATE) else "mark of a home's state"
            sealed = SealedFile.from_file(path.read_bytes(), purpose=purpose, where="")
            found.append(key.open(sealed, where=""))
    return b"\n".join(found)


def test_a_used_bundle_is_gone_even_for_who_has_the_key(folder: Path) -> None:
    assert secrets(1).key in unsealed(folder)
    with FileStore.open(folder) as store:
        store.save(store.state.with_sum(1, 1, ENTRY))
        assert set(files(folder)) == {STATE, MARK, KEY}
    assert secrets(1).key not in unsealed(folder)
    assert secrets(1).blind not in unsealed(folder)


@pytest.mark.long
@pytest.mark.parametrize("name", [STATE, MARK])
def test_every_altered_byte_is_noticed(folder: Path, name: str) -> None:
    sound = (folder / name).read_bytes()
    reasons = set()
    for place in range(len(sound)):
        flipped = bytearray(sound)
        flipped[place] ^= 1 << place % 8
        (folder / name).write_bytes(flipped)
        reasons.add(refused(folder))
    # Where the key's check is altered, an altered file and a wrong key look alike.
    assert reasons == {"foreign", "truncated", "altered", "wrong-key"}
    (folder / name).write_bytes(sound + b"\0")
    assert refused(folder) == "altered"
    (folder / name).write_bytes(sound)
    assert opened(folder).version == 1


@pytest.mark.long
@pytest.mark.parametrize("name", [STATE, MARK])
def test_every_cut_is_noticed(folder: Path, name: str) -> None:
    sound = (folder / name).read_bytes()
    for length in range(len(sound)):
        (folder / name).write_bytes(sound[:length])
        assert refused(folder) == "truncated"
    (folder / name).unlink()
    assert refused(folder) == "missing"


def test_foreign_files_are_refused(folder: Path, tmp_path: Path) -> None:
    assert refused(folder, home="elm") == "foreign"
    sound = files(folder)
    (folder / STATE).write_bytes(b"a text that somebody put here")
    assert refused(folder) == "foreign"
    (folder / STATE).write_bytes(sound[MARK])
    assert refused(folder) == "foreign"
    other = tmp_path / "elm"
    FileStore.create(other, HomeKeys.create("elm"), key_file=folder / KEY).close()
    shutil.copy(other / MARK, folder / MARK)
    (folder / STATE).write_bytes(sound[STATE])
    assert refused(folder) == "rolled-back"  # the mark of another home says nothing of this one
    shutil.copy(other / STATE, folder / STATE)
    assert refused(folder, home="oak") == "foreign"


def test_a_state_of_another_release_is_no_damage(folder: Path) -> None:
    """Its seal is sound: an agent ends for good, and says what people can do."""
    to_bytes = HomeState.to_bytes
    with FileStore.open(folder) as store, pytest.MonkeyPatch.context() as earlier:
        earlier.setattr(
            HomeState, "to_bytes", lambda it: to_bytes(it).replace(b"state/5", b"state/4")
        )
        store.save(replace(store.state, version=store.state.version + 1))
    with pytest.raises(StateError, match="enrol the home anew") as caught:
        opened(folder)
    assert (caught.value.reason, caught.value.reason in PEOPLES) == ("foreign", True)


def test_only_its_key_opens_it(folder: Path, tmp_path: Path) -> None:
    key = folder / KEY
    kept = key.rename(tmp_path / "elsewhere.key")
    assert refused(folder) == "missing"
    assert opened(folder, key_file=kept).version == 1
    disk.put(key, os.urandom(32))
    assert refused(folder) == "wrong-key"
    disk.put(key, b"short")
    assert refused(folder) == "altered"
    assert refused(folder, passphrase=WORDS) == "passphrase"


@pytest.mark.long
def test_a_passphrase_opens_it(tmp_path: Path) -> None:
    folder = tmp_path / "oak"
    with pytest.raises(StateError, match="8 characters"):
        FileStore.create(folder, keys(), passphrase=WORDS[:7])
    with FileStore.create(folder, keys(), passphrase=WORDS) as store:
        store.save(store.state.with_bundle(secrets(1)))
    assert set(files(folder)) == {STATE, MARK}
    assert opened(folder, passphrase=WORDS.replace("\u00c5", "A\u030a")).live == {1: secrets(1)}
    assert refused(folder, passphrase=OTHER_WORDS) == "wrong-key"
    assert refused(folder) == "passphrase"


@pytest.mark.long
def test_a_file_cannot_ask_for_gigabytes(tmp_path: Path) -> None:
    FileStore.create(tmp_path, keys(), passphrase=WORDS).close()
    data = (tmp_path / STATE).read_bytes()
    assert data.count(b"\x0a\x08\x01") == 1  # log2_n, r, p
    (tmp_path / STATE).write_bytes(data.replace(b"\x0a\x08\x01", b"\x1e\x08\x01"))
    assert refused(tmp_path, passphrase=WORDS) == "altered"


def test_one_state_serves_one_home_once(folder: Path) -> None:
    with pytest.raises(StateError) as caught:
        FileStore.create(folder, keys())
    assert caught.value.reason == "exists"
    with FileStore.open(folder) as store:
        assert refused(folder) == "in-use"
    assert opened(folder) == store.state
    with pytest.raises(StateError) as caught:
        store.save(store.state.with_bundle(secrets(2)))
    assert caught.value.reason == "closed"


def test_a_restored_backup_is_refused(folder: Path) -> None:
    backup = files(folder)
    with FileStore.open(folder) as store:
        store.save(store.state.with_sum(1, 1, ENTRY))
    (folder / STATE).write_bytes(backup[STATE])
    assert refused(folder) == "rolled-back"


def test_an_older_state_is_not_saved(folder: Path) -> None:
    with FileStore.open(folder) as store:
        old = store.state
        store.save(old.with_sum(1, 1, ENTRY))
        for state in (old, old.with_bundle(secrets(2))):  # versions 1 and 2; 2 is there
            with pytest.raises(StateError) as caught:
                store.save(state)
            assert caught.value.reason == "rolled-back"
        store.save(old.with_sum(1, 1, ENTRY))  # the very same is no change


def test_both_files_restored_together_are_not_noticed_here(folder: Path) -> None:
    backup = files(folder)
    with FileStore.open(folder) as store:
        store.save(store.state.with_sum(1, 1, ENTRY))
    for name in (STATE, MARK):
        (folder / name).write_bytes(backup[name])
    assert opened(folder).live == {1: secrets(1)}  # as the docstring of the module says


def test_a_mark_of_an_earlier_life_says_nothing(folder: Path) -> None:
    with FileStore.open(folder) as store:
        store.save(store.state.with_sum(1, 1, ENTRY))
        old = files(folder)[STATE]
    (folder / STATE).unlink()
    FileStore.create(folder, HomeKeys.create("oak")).close()
    assert opened(folder).version == 0
    (folder / STATE).write_bytes(old)  # ahead of the new mark, and under the same key
    assert refused(folder) == "rolled-back"


@pytest.mark.parametrize("at", range(1, STEPS + 2))
def test_a_crash_anywhere_in_a_save_leaves_one_sound_state(folder: Path, at: int) -> None:
    before = files(folder)
    store = FileStore.open(folder)
    first, second = store.state, store.state.with_sum(1, 1, ENTRY)
    done = False
    with failing(at, Crash()) as calls:
        try:
            store.save(second)
            done = True
        except Crash:
            pass
    store.close()  # as the end of the process would
    assert done == (at > STEPS)
    assert len(calls) == min(at, STEPS)
    crashed = files(folder)
    state = opened(folder)
    assert state == (second if at > 5 else first)  # the fifth step is the rename of the state
    assert set(files(folder)) == {STATE, MARK, KEY}
    # From here on that one counts: whatever was there before is a restored backup.
    if state == second:
        (folder / STATE).write_bytes(before[STATE])
        assert refused(folder) == "rolled-back"
        (folder / STATE).write_bytes(crashed[STATE])
    with FileStore.open(folder) as store:
        store.save(state.with_bundle(secrets(3)))
    for older in (before, crashed):
        (folder / STATE).write_bytes(older[STATE])
        assert refused(folder) == "rolled-back"


@pytest.mark.parametrize("at", range(1, 20))
def test_a_crash_while_a_newer_state_is_taken_up_harms_nothing(folder: Path, at: int) -> None:
    before = files(folder)
    with FileStore.open(folder) as store, failing(9, Crash()), pytest.raises(Crash):
        store.save(store.state.with_sum(1, 1, ENTRY))
    (folder / MARK).write_bytes(before[MARK])  # the rename of the mark was lost
    with failing(at, Crash()), suppress(Crash):
        opened(folder)
    assert opened(folder).sum_number == 1
    (folder / STATE).write_bytes(before[STATE])
    assert refused(folder) == "rolled-back"


def test_a_save_that_a_power_cut_undid_is_refused_later(folder: Path) -> None:
    before = files(folder)
    with FileStore.open(folder) as store, failing(6, Crash()), pytest.raises(Crash):
        store.save(store.state.with_sum(1, 1, ENTRY))
    copied = files(folder)[STATE]  # version 2, by a backup that ran just then
    (folder / STATE).write_bytes(before[STATE])  # the rename was lost: version 1
    with FileStore.open(folder) as store:
        store.save(store.state.with_bundle(secrets(2)))  # another version 2
    (folder / STATE).write_bytes(copied)
    assert refused(folder) == "rolled-back"


def test_the_order_of_a_save_stands_a_power_cut(folder: Path) -> None:
    with FileStore.open(folder) as store, failing(0, Crash()) as calls:
        store.save(store.state.with_sum(1, 1, ENTRY))
    staged, in_place = ["open", "fsync"], ["replace", "open", "fsync"]
    assert calls == [*staged, *staged, *in_place, *in_place]


def test_what_a_crash_left_half_written_is_removed(folder: Path) -> None:
    for name in (STATE, MARK):
        (folder / f"{name}.new").write_bytes(b"torn")
    assert opened(folder).version == 1
    assert set(files(folder)) == {STATE, MARK, KEY}


def test_a_staged_file_follows_no_link(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    (folder / f"{STATE}.new").symlink_to(target)
    with FileStore.open(folder) as store:
        store.save(store.state.with_sum(1, 1, ENTRY))
    assert target.read_text() == "untouched"
    assert not (folder / STATE).is_symlink()


@pytest.mark.parametrize("at", range(1, 5))
def test_a_full_disk_changes_nothing(folder: Path, at: int) -> None:
    before = files(folder)
    with FileStore.open(folder) as store:
        first = store.state
        full = OSError(errno.ENOSPC, "full")
        with failing(at, full), pytest.raises(StateError) as caught:
            store.save(first.with_sum(1, 1, ENTRY))
        assert caught.value.reason == "disk-full"
        assert "make room" in caught.value.hint
        assert files(folder) == before
        assert store.state == first
        store.save(first.with_sum(1, 1, ENTRY))  # there is room again
    assert opened(folder).sum_number == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EROFS, "not-writable"),
        (errno.EACCES, "not-writable"),
        (errno.EDQUOT, "disk-full"),
        (errno.EIO, "disk"),
    ],
)
def test_a_folder_that_cannot_be_written_is_told_on_opening(
    folder: Path, code: int, reason: str
) -> None:
    before = files(folder)
    with failing(5, OSError(code, "")) as calls:  # after the folder itself, and three that are read
        assert refused(folder) == reason
    assert calls[:5] == ["open"] * 5
    assert files(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(folder: Path) -> None:
    folder.chmod(0o500)
    assert refused(folder) == "not-writable"
    folder.chmod(0o700)


@pytest.mark.parametrize("at", range(5, STEPS + 1))
def test_after_a_late_failure_the_store_must_be_opened_anew(folder: Path, at: int) -> None:
    with FileStore.open(folder) as store:
        first = store.state
        with failing(at, OSError(errno.EIO, "")), pytest.raises(StateError) as caught:
            store.save(first.with_sum(1, 1, ENTRY))
        assert caught.value.reason == "disk"
        with pytest.raises(StateError) as caught:
            store.save(first.with_bundle(secrets(2)))
        assert caught.value.reason == "unsure"
    with FileStore.open(folder) as store:
        assert store.state in (first, first.with_sum(1, 1, ENTRY))
        store.save(store.state.with_bundle(secrets(2)))
    assert opened(folder) == store.state


@pytest.mark.parametrize("at", range(1, 17))
def test_a_crash_while_a_home_is_made_can_be_repaired_by_making_it(tmp_path: Path, at: int) -> None:
    with failing(at, Crash()), suppress(Crash):
        FileStore.create(tmp_path / "oak", keys()).close()
    if (tmp_path / "oak" / STATE).exists():
        assert at >= 13  # its rename: that is the last of its steps but for the folder's
    else:
        FileStore.create(tmp_path / "oak", keys()).close()
    assert opened(tmp_path / "oak") == HomeState()


def test_missing_folders(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere") == "missing"
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file") == "missing"
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty") == "missing"


@pytest.mark.long
def test_it_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import sys; from fedhome.fleet.state_file import *\n"
        "from fedhome.secagg.directory import *\n"
        "store = FileStore.create(sys.argv[1], HomeKeys.create('oak'))\n"
        "while True: store.save(store.state._next()); print(store.state.version, flush=True)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "oak")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(25):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        told = child.stdout.read().split()
    last = int(told[-1]) if told else 25
    assert last <= opened(tmp_path / "oak").version <= last + 1
