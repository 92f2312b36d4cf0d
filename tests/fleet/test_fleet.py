"""The fleet's owner: makes a fleet, lists and revokes homes, signs directories."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedhome.errors import DirectoryError, ParameterError, SecAggError, StateError
from fedhome.fleet import owner_folder
from fedhome.fleet.cards import Inviter
from fedhome.fleet.entries import Anchor, entry_text, fingerprint, home_keys, read_entry
from fedhome.fleet.owner_folder import Fleet
from fedhome.fleet.server_secret import server_keys
from fedhome.fleet.state_file import FileStore
from fedhome.keys.sealing import SealingKey
from fedhome.secagg import (
    Directory,
    HomeEntry,
    HomeKeys,
    HomeParty,
    KeyRing,
    MemoryStore,
    Policy,
    ShareKey,
)
from fedhome.secagg.directory import NO_DIRECTORY, Signed
from fedhome.wire.moments import when
from helpers.command import Said, fedhome
from helpers.secagg_world import NOW

PASSPHRASE = "correct horse battery staple"  # noqa: S105
FIVE = ("ash", "elm", "fir", "oak", "yew")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fleet of five trial homes, nothing signed yet."""
    with Fleet.create(tmp_path / "mine", PASSPHRASE) as owned:
        owned.add_trial(*FIVE)
    return tmp_path / "mine"


def entry(home: str) -> HomeEntry:
    return HomeKeys.create(home).entry()


def reason_of(kind: type[SecAggError], call: object, *arguments: object, **more: object) -> str:
    assert callable(call)
    with pytest.raises(kind) as caught:
        call(*arguments, **more)
    assert type(caught.value) is kind
    assert caught.value.hint
    return caught.value.reason


def test_the_first_directory(folder: Path) -> None:
    with Fleet.open(folder) as owned:
        assert (owned.epoch, owned.last()) == (0, None)
        issued = owned.sign(PASSPHRASE)
        assert owned.last() == issued.directory
        assert owned.changes() == {}
    directory = issued.directory
    anchor = Anchor.from_text((folder / "fleet.pub").read_text())
    assert Directory.verify(issued.data, anchor.authority) == directory
    assert (folder / "directory.fh").read_bytes() == issued.data
    assert directory.fleet == anchor.fleet
    assert (directory.epoch, directory.names) == (1, FIVE)
    assert sorted(directory.members) == list(FIVE)
    # A tenth of five homes is none; half of five, and one.
    assert (directory.committee, directory.corrupt, directory.threshold) == (5, 1, 4)
    assert issued.changes == dict.fromkeys(FIVE, "new")


def test_homes_accept_what_the_owner_signs(folder: Path) -> None:
    with Fleet.open(folder) as owned:
        signed = [owned.sign(PASSPHRASE) for _ in range(2)]
        authority = owned.anchor.authority
    others = [_in_memory(folder, name, authority) for name in FIVE if name != "oak"]
    with FileStore.open(folder / "homes" / "oak", home="oak") as store:
        home = HomeParty(store.keys, authority, state=store.state, store=store)
        for issued in signed:
            for one in (home, *others):
                one.renew(issued.data)
            home.bundle(_ring([home, *others], issued.directory), now=NOW)
    with FileStore.open(folder / "homes" / "oak") as store:
        state = store.state
        assert (state.epoch, state.serial, list(state.live)) == (2, 2, [2])
        again = HomeParty(store.keys, authority, state=state, store=store)
        again.renew(signed[1].data)
        assert reason_of_any(again, signed[0].data) == "older"


def _in_memory(folder: Path, name: str, authority: bytes) -> HomeParty:
    with FileStore.open(folder / "homes" / name, home=name) as store:
        return HomeParty(store.keys, authority, state=store.state, store=MemoryStore())


def _ring(homes: list[HomeParty], directory: Directory) -> bytes:
    keys = [ShareKey.from_bytes(home.share_key(now=NOW)) for home in homes]
    keys.sort(key=lambda key: directory.members.index(key.member))
    return KeyRing(keys=tuple(keys)).to_bytes()


def reason_of_any(home: HomeParty, data: bytes) -> str:
    with pytest.raises(DirectoryError) as caught:
        home.renew(data)
    return caught.value.reason


@pytest.mark.parametrize(("homes", "corrupt"), [(5, 0.1), (20, 0.3), (300, 0.1), (300, 0.2)])
def test_committees_are_such_that_homes_accept_them(
    tmp_path: Path, homes: int, corrupt: float
) -> None:
    with Fleet.create(tmp_path, PASSPHRASE) as owned:
        owned.add(*(entry(f"home-{number}") for number in range(homes)))
        directory = owned.sign(PASSPHRASE, corrupt=corrupt).directory
    Policy(corrupt=corrupt).check_committee(directory)
    if homes == 20:
        assert (directory.committee, directory.corrupt, directory.threshold) == (20, 6, 14)
    if homes == 300 and corrupt == 0.1:
        assert directory.committee < homes  # more than 256: not all need to serve


def test_epochs_rise_and_tell_what_changed(folder: Path) -> None:
    with Fleet.open(folder) as owned:
        first = owned.sign(PASSPHRASE).directory
    with Fleet.open(folder) as owned:
        assert owned.epoch == 1
        owned.revoke("elm")
        owned.revoke("fir")
        owned.add(entry("fir"), entry("ivy"))
        yew = owned.homes["yew"]
        owned.revoke("yew")
        owned.add(yew, eligible=False)
        changes = {"elm": "left out", "fir": "new keys", "ivy": "new", "yew": "may not serve"}
        assert owned.changes() == changes
        second = owned.sign(PASSPHRASE)
        third = owned.sign(PASSPHRASE)
    assert second.changes == changes
    assert third.changes == {}
    assert [second.directory.epoch, third.directory.epoch] == [2, 3]
    assert second.directory.names == ("ash", "fir", "ivy", "oak", "yew")
    assert "yew" not in second.directory.members
    assert second.directory.committee == 4
    assert len({first.seed, second.directory.seed, third.directory.seed}) == 3


def test_an_epoch_never_comes_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = (folder / "fleet.fh").read_bytes()
    with Fleet.open(folder) as owned:
        owned.sign(PASSPHRASE)
        owned.sign(PASSPHRASE)
    # The list comes from a backup: the last directory still tells the epoch.
    (folder / "fleet.fh").write_bytes(old)
    with Fleet.open(folder) as owned:
        assert owned.epoch == 0
        assert owned.sign(PASSPHRASE).directory.epoch == 3
    # A crash right after signing, before the directory is written.
    with Fleet.open(folder) as owned, monkeypatch.context() as patch:
        real = owner_folder.disk.put

        def put(path: Path, data: bytes, *, mode: int) -> None:
            if path.name == "directory.fh":
                raise KeyboardInterrupt
            real(path, data, mode=mode)

        patch.setattr(owner_folder.disk, "put", put)
        with pytest.raises(KeyboardInterrupt):
            owned.sign(PASSPHRASE)
    with Fleet.open(folder) as owned:
        # Nobody knows whether the lost one reached a home, so a number is left out.
        assert owned.sign(PASSPHRASE).directory.epoch == 6


def test_a_directory_holds_for_as_long_as_the_owner_says(folder: Path) -> None:
    with Fleet.open(folder) as owned:
        held = [
            issued.expires - issued.issued
            for issued in (
                owned.sign(PASSPHRASE).directory,
                owned.sign(PASSPHRASE, days=30).directory,
                owned.sign(PASSPHRASE).directory,
            )
        ]
    assert held == [400 * 86_400, 30 * 86_400, 30 * 86_400]


def test_directories_name_the_one_before(folder: Path) -> None:
    with Fleet.open(folder) as owned:
        first, second = (owned.sign(PASSPHRASE).directory for _ in range(2))
        assert (first.previous, second.previous) == (NO_DIRECTORY, first.hash)
        later = owned.sign(PASSPHRASE, after=7).directory
        assert (later.epoch, later.previous) == (9, second.hash)  # 8 may be somebody else's
        assert owned.sign(PASSPHRASE, after=7).directory.epoch == 10
        (folder / "directory.fh").unlink()
        lost = owned.sign(PASSPHRASE).directory
    # Homes have the tenth, which this folder knows no more: the eleventh could not follow it.
    assert (lost.epoch, lost.previous) == (12, NO_DIRECTORY)
    lost.check_order((10, b"x" * 32))


def test_the_list_refuses_what_makes_no_sense(folder: Path) -> None:
    with Fleet.open(folder) as owned:
        oak = owned.homes["oak"]
        before = owned.homes
        assert reason_of(DirectoryError, owned.add, entry("oak")) == "home-twice"
        assert reason_of(DirectoryError, owned.add_trial, "new", "oak") == "home-twice"
        assert reason_of(DirectoryError, owned.add, entry("a"), entry("a")) == "home-twice"
        for other in (
            replace(entry("new"), identity=oak.identity),
            replace(entry("new"), share=oak.share),
            replace(entry("new"), share=oak.identity),
            replace(entry("new"), share=server_keys(folder / "server").public),
        ):
            assert reason_of(DirectoryError, owned.add, entry("fine"), other) == "key-twice"
        same = replace(oak, home="new", share=(one := entry("new")).identity, identity=one.identity)
        assert reason_of(DirectoryError, owned.add, same) == "key-twice"
        assert reason_of(DirectoryError, owned.revoke, "nobody") == "unknown-home"
        for name in ("", "a/b", "..", ".hidden", "-v", "a b", "a\n", "x" * 65, "é" * 33):
            assert reason_of(DirectoryError, owned.add_trial, name) == "name"
        for blank in "\u115f\u1160\u3164\uffa0":  # letters, and nobody sees them
            assert blank.isalnum()
            assert reason_of(DirectoryError, owned.add, entry(f"oak{blank}")) == "name"
        assert owned.homes == before
    with Fleet.open(folder) as owned:
        assert owned.homes == before
    assert not (folder / "homes" / "new").exists()


def test_too_few_homes(folder: Path) -> None:
    with Fleet.open(folder) as owned:
        owned.revoke("elm")
        assert reason_of(ParameterError, owned.sign, PASSPHRASE) == "homes"
        owned.add(entry("elm"))
        assert reason_of(ParameterError, owned.sign, PASSPHRASE, committee=6) == "committee"
        for home in FIVE[1:]:
            one = owned.homes[home]
            owned.revoke(home)
            owned.add(one, eligible=False)
        assert reason_of(ParameterError, owned.sign, PASSPHRASE) == "committee"
        assert owned.epoch == 0
    assert not (folder / "directory.fh").exists()


def test_a_plan_may_ask_for_smaller_sums(folder: Path) -> None:
    with Fleet.open(folder) as owned:
        owned.revoke("ash")
        owned.revoke("elm")
        assert reason_of(ParameterError, owned.sign, PASSPHRASE) == "homes"
        assert reason_of(ParameterError, owned.sign, PASSPHRASE, min_cohort=4) == "homes"
        assert reason_of(ParameterError, owned.sign, PASSPHRASE, min_cohort=1) == "cohort"
        issued = owned.sign(PASSPHRASE, min_cohort=3)
    directory = issued.directory
    # All three serve, none may be corrupt, and a majority of two opens: 3 // 2 + 1.
    assert (directory.committee, directory.corrupt, directory.threshold) == (3, 0, 2)
    assert (issued.parameters.n_min, issued.parameters.a_min) == (3, 3)
    Policy(min_cohort=3).check_committee(directory)


def test_only_the_passphrase_signs(folder: Path, tmp_path: Path) -> None:
    assert reason_of(StateError, Fleet.create, tmp_path / "short", "1234567") == "passphrase"
    with Fleet.open(folder) as owned:
        assert reason_of(StateError, owned.sign, "incorrect horse") == "wrong-key"
        assert owned.epoch == 0
    Fleet.create(tmp_path / "other", PASSPHRASE).close()
    shutil.copy(tmp_path / "other" / "authority.fh", folder)
    with Fleet.open(folder) as owned:
        assert reason_of(StateError, owned.sign, PASSPHRASE) == "foreign"
    # The server's folder opens nothing of the owner's, and nothing else of the fleet is in it.
    assert {path.name for path in (folder / "server").iterdir()} == {
        *("server.fh", "server.key", "fleet.pub", "inviter.pub"),
    }
    shutil.copy(folder / "server" / "server.fh", folder / "authority.fh")
    with Fleet.open(folder) as owned:
        assert reason_of(StateError, owned.sign, PASSPHRASE) == "foreign"


@pytest.mark.long
@pytest.mark.parametrize("name", ["authority.fh", "fleet.fh", "directory.fh", "server/server.fh"])
def test_damaged_files_are_told(folder: Path, name: str) -> None:
    with Fleet.open(folder) as owned:
        owned.sign(PASSPHRASE)
    sound = (folder / name).read_bytes()
    kinds = set()
    for place in range(0, len(sound), 7):
        flipped = bytearray(sound)
        flipped[place] ^= 1
        (folder / name).write_bytes(flipped)
        with pytest.raises((StateError, DirectoryError)) as caught:
            use(folder)
        kinds.add(caught.value.reason)
        (folder / name).write_bytes(sound[:place])
        with pytest.raises((StateError, DirectoryError)):
            use(folder)
    assert kinds <= {"altered", "foreign", "truncated", "wrong-key", "signature"}
    assert "altered" in kinds
    (folder / name).write_bytes(sound)
    use(folder)


def use(folder: Path) -> None:
    server_keys(folder / "server")
    with Fleet.open(folder) as owned:
        owned.sign(PASSPHRASE)


def test_folders_that_are_no_fleet_or_in_use(folder: Path, tmp_path: Path) -> None:
    assert reason_of(StateError, Fleet.open, tmp_path) == "missing"
    assert reason_of(StateError, Fleet.open, tmp_path / "nowhere") == "missing"
    with pytest.raises(StateError, match=r"there is no fleet in .*nowhere"):
        Fleet.open(tmp_path / "nowhere")
    assert reason_of(StateError, Fleet.create, folder, PASSPHRASE) == "exists"
    with Fleet.open(folder):
        assert reason_of(StateError, Fleet.open, folder) == "in-use"
    (folder / "server" / "server.key").chmod(0o644)
    assert reason_of(StateError, server_keys, folder / "server") == "permissions"


def test_the_servers_key_is_the_one_that_homes_are_told(folder: Path) -> None:
    with Fleet.open(folder) as owned:
        directory = owned.sign(PASSPHRASE).directory
    assert server_keys(folder / "server").public == directory.server


def test_entries_reach_the_owner_whole_or_not_at_all(tmp_path: Path) -> None:
    keys, made = home_keys("oak", tmp_path / "oak")
    line = entry_text(keys)
    assert made
    assert read_entry(f"  {line}\n") == keys.entry()
    again, made = home_keys("oak", tmp_path / "oak")
    assert not made
    assert read_entry(entry_text(again)) == keys.entry()
    assert reason_of(DirectoryError, home_keys, "../oak", tmp_path / "oak") == "name"
    with pytest.raises(StateError, match="'oak', not of 'elm'"):
        home_keys("elm", tmp_path / "oak")
    for place in range(len(line)):
        other = "A" if line[place] != "A" else "B"
        assert reason_of(DirectoryError, read_entry, line[:place]) == "entry"
        altered = line[:place] + other + line[place + 1 :]
        assert reason_of(DirectoryError, read_entry, altered) == "entry"


def signed_entry(one: HomeEntry, private: bytes) -> str:
    body = one.to_bytes()
    key = Ed25519PrivateKey.from_private_bytes(private)
    signed = Signed(body=body, signature=key.sign(b"fedhome/enrol/1\0" + body))
    return "fedhome-home-1:" + base64.b64encode(signed.to_bytes()).decode()


def test_an_entry_must_be_its_own_keys() -> None:
    private = bytes(range(32))
    mine = HomeKeys("oak", private, bytes(range(32, 64)))
    assert read_entry(signed_entry(mine.entry(), private)) == mine.entry()
    stolen = replace(mine.entry(), identity=entry("elm").identity)
    assert reason_of(DirectoryError, read_entry, signed_entry(stolen, private)) == "entry"
    # With such a key everyone shares the secret zero, and no bundle could be sealed for it.
    weak = replace(mine.entry(), share=bytes(32))
    assert reason_of(DirectoryError, read_entry, signed_entry(weak, private)) == "entry"
    named = replace(mine.entry(), home="../oak")
    assert reason_of(DirectoryError, read_entry, signed_entry(named, private)) == "name"


def test_a_fingerprint_covers_name_and_keys() -> None:
    one = entry("oak")
    told = hashlib.sha256(b"fedhome/enrol/1\0oak" + one.identity + one.share).hexdigest()
    assert fingerprint(one).replace(" ", "") == told[:24]
    others = [replace(one, home="elm"), replace(one, share=one.identity), entry("oak")]
    assert len({fingerprint(one), *map(fingerprint, others)}) == 4
    assert fingerprint(replace(one, eligible=False)) == fingerprint(one)


def test_an_anchor_is_read_whole_or_not_at_all() -> None:
    anchor = Anchor(fleet=bytes(16), authority=bytes(32))
    assert Anchor.from_text(f"{anchor.to_text()}\n") == anchor
    for text in ("", anchor.to_text()[:-4], anchor.to_text()[1:], anchor.to_text() + "é"):
        assert reason_of(DirectoryError, Anchor.from_text, text) == "anchor"


def test_no_private_key_lies_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The very keys, as the fleet itself unseals them: the owner's, the server's, five homes'.
    opened: list[bytes] = []
    real = SealingKey.open

    def spy(self: SealingKey, *arguments: object, **more: object) -> bytes:
        opened.append(real(self, *arguments, **more))  # type: ignore[arg-type]
        return opened[-1]

    with monkeypatch.context() as patch:
        patch.setattr(SealingKey, "open", spy)
        use(folder)
    private = {one for one in opened if len(one) == 32}
    for home in FIVE:
        with FileStore.open(folder / "homes" / home) as store:
            keys = store.keys.to_bytes()
        private |= set(re.findall(rb"\xc4\x20(.{32})", keys, re.DOTALL))
    assert len(private) == 2 + 2 * len(FIVE)
    found = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert len(found) == 7 + 2 + 3 * len(FIVE)
    for secret in private:
        for form in (secret, secret.hex().encode(), base64.b64encode(secret)[:40]):
            assert not any(form in data for data in found)


def test_who_may_read_what(folder: Path) -> None:
    with Fleet.open(folder) as owned:
        owned.sign(PASSPHRASE)
    for path in folder.rglob("*"):
        names = {"fleet.fh", "fleet.pub", "directory.fh", "inviter.pub", "homes"}
        public = path.name in names
        mode = stat.S_IMODE(path.stat().st_mode)
        assert public or mode & 0o077 == 0, path


def test_a_fleets_folder_is_its_owners_alone(tmp_path: Path) -> None:
    """Whatever other accounts may do with what is made beside it."""
    (tmp_path / "a").mkdir()
    before = os.umask(0)
    try:
        (tmp_path / "open").mkdir()
        Fleet.create(tmp_path / "a" / "fleet", passphrase=PASSPHRASE).close()
        Fleet.create(tmp_path / "b" / "c" / "fleet", passphrase=PASSPHRASE).close()
        with pytest.raises(StateError, match="every account of this machine may write into"):
            Fleet.create(tmp_path / "open" / "fleet", passphrase=PASSPHRASE)
    finally:
        os.umask(before)
    # What is made on the way to it is nobody else's to write to.
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "b" / "c").stat().st_mode) == 0o755
    for folder in (tmp_path / "a" / "fleet", tmp_path / "a" / "fleet" / "server"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def run(folder: Path, *arguments: str, typed: str = "") -> Said:
    return fedhome("fleet", *arguments, folder=folder, typed=typed)


def process(folder: Path, *arguments: str, typed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from fedhome.cli import main; main()", "fleet", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        input=typed,
        env=os.environ | {"COLUMNS": "120", "NO_COLOR": "1"},
    )


@pytest.mark.long
def test_what_an_owner_types(tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text(f"{PASSPHRASE}\n")
    secret = ("--passphrase-file", "../passphrase")
    made = run(tmp_path, "init", "mine", "--passphrase-file", "passphrase")
    assert (made.returncode, made.stderr) == (0, "")
    assert "never the server" in made.stdout
    mine = tmp_path / "mine"

    keys = run(tmp_path, "keys", "oak", "--out", "oak")
    assert keys.returncode == 0
    assert keys.stdout == (tmp_path / "oak" / "oak.entry").read_text()
    told = fingerprint(read_entry(keys.stdout))
    assert f"fingerprint: {told}" in keys.stderr

    wrong = run(mine, "add", "elm", "--entry", "../oak/oak.entry")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: the entries are of oak, not of elm")
    added = run(mine, "add", "oak", "--entry", "../oak/oak.entry", "--not-on-committee")
    assert told in added.stdout
    trial = run(mine, "add", *"abcde")
    assert "added e; its keys were made here, in homes/e: for trials only" in trial.stdout
    run(tmp_path, "revoke", "c", "--fleet", "mine")

    signed = run(mine, "directory", "--corrupt", "0.25", *secret)
    assert (signed.returncode, signed.stderr) == (0, "")
    rows = dict(
        [cell.strip() for cell in line.split("│")]
        for line in signed.stdout.splitlines()
        if "│" in line
    )
    assert rows["homes"] == "5, 4 of them may serve on the committee"
    assert rows["new"] == "5: a, b, d, e, oak"
    assert rows["may be corrupt"] == "1 of the committee"
    directory = Directory.verify(
        (mine / "directory.fh").read_bytes(),
        Anchor.from_text((mine / "fleet.pub").read_text()).authority,
    )
    assert directory.names == ("a", "b", "d", "e", "oak")
    assert (directory.epoch, directory.committee, directory.threshold) == (1, 4, 3)

    until = when(directory.expires)
    assert rows["holds until"].startswith(until)
    shown = run(mine, "show")
    assert f"epoch 1, holds until {until}" in shown.stdout
    assert re.search(rf"oak +│ no +│ {told}", shown.stdout)
    pair = [mine / "inviter.key", mine / "server" / "inviter.pub"]
    before = [path.read_bytes() for path in pair]
    assert "copy server/inviter.pub to the server" in run(mine, "new-inviter").stdout
    after = [path.read_bytes() for path in pair]
    assert not {*before} & {*after}
    assert Inviter.read_public(after[1].decode()) == Inviter.from_bytes(after[0]).public
    failed = process(mine, "directory", typed="not the passphrase\n")
    assert failed.returncode == 1
    assert "error: authority.fh does not open with this passphrase" in failed.stderr
    assert "not the passphrase" not in failed.stderr + failed.stdout
    assert "Traceback" not in failed.stderr


@pytest.mark.long
def test_a_new_passphrase_is_asked_for_twice(tmp_path: Path) -> None:
    differing = run(tmp_path, "init", "mine", typed=f"{PASSPHRASE}\nanother one\n")
    assert differing.returncode != 0
    assert not (tmp_path / "mine" / "fleet.fh").exists()
    same = run(tmp_path, "init", "mine", typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert same.returncode == 0, same.stderr
    assert PASSPHRASE not in same.stdout + same.stderr
    with Fleet.open(tmp_path / "mine") as owned:
        owned.add(*map(entry, FIVE))
        assert owned.sign(PASSPHRASE).directory.epoch == 1


@pytest.mark.long
def test_it_needs_neither_torch_nor_flower() -> None:
    program = (
        "import fedhome.fleet.owner_folder, sys; "
        "print({'torch', 'flwr', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
