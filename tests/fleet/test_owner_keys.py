"""Several keys speak for an owner, and each can be changed; homes and server follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedhome.clients.agent.known_head import HeadKeeper
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.errors import DirectoryError, StateError
from fedhome.fleet.entries import Anchor
from fedhome.fleet.freshness import Freshness
from fedhome.fleet.owner_keys import (
    co_sign,
    key_name,
    make_owner_key,
    merged,
    owner_text,
    read_draft,
    read_owner,
)
from fedhome.fleet.server_secret import server_keys
from fedhome.keys.roots import Root
from fedhome.plan.settings import Plan
from fedhome.secagg import Directory
from fedhome.secagg.directory import CoSigned
from helpers.command import fedhome
from helpers.invite_world import (
    EXPIRES,
    NOW,
    PASSPHRASE,
    World,
    reason_of,
    stop_the_clock,
    world_of,
)

THEIRS = "another passphrase altogether"


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_the_clock(monkeypatch)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return world_of(tmp_path)


@pytest.fixture
def home(world: World, tmp_path: Path) -> HeadKeeper:
    return home_in(tmp_path / "home", world.owned.first_anchor)


def home_in(folder: Path, anchor: Anchor) -> HeadKeeper:
    folder.mkdir()
    place = HomeFolder(folder)
    settings = HomeSettings(home="oak", server="hub.example:1", data="x")
    place.fill(settings, plan=Plan.load(), anchor=anchor, authorities=b"pem")
    return HeadKeeper(place, lambda: float(NOW))


def reads(home: HeadKeeper, data: bytes) -> int:
    return home.read_directory(data, bytes(32)).epoch


def with_two(world: World, tmp_path: Path) -> Path:
    """Let two keys speak for the owner, both of which must sign; return the other one's folder."""
    other = tmp_path / "other"
    key = make_owner_key(other, THEIRS)
    draft, counts = world.owned.change_keys(PASSPHRASE, add=[key], threshold=2)
    assert not counts
    world.owned.collect(co_sign(draft, other, THEIRS))
    return other


def test_one_key_is_the_default_and_its_bytes_are_as_they_were(world: World) -> None:
    owned = world.owned
    assert owned.root == Root.first(owned.anchor.fleet, owned.anchor.authority)
    assert owned.anchor == owned.first_anchor
    first = world.sign()
    assert Directory.verify(first, owned.anchor.authority).epoch == 1
    assert Anchor.from_text((owned.folder / "fleet.pub").read_text()) == owned.anchor


def test_a_new_key_takes_the_place_of_the_last_one(
    world: World, home: HeadKeeper, tmp_path: Path
) -> None:
    owned = world.owned
    first, thief = world.sign(), owned.own_key(PASSPHRASE)
    world.take(first)
    assert reads(home, first) == 1
    _, counts = owned.change_keys(PASSPHRASE, renew=True)
    assert counts
    assert owned.own_key(PASSPHRASE).public != thief.public
    second = world.sign()
    world.take(second)
    assert reads(home, second) == 2
    # Whoever stole the first key speaks no more: not to server and homes that know, nor to those
    # that are invited now.
    held = Directory.verify(second, owned.root)
    stolen = thief.issue(held.__class__(**{**vars_of(held), "epoch": 4}))
    assert reason_of(world.take, stolen) == "signature"
    for keeper in (
        home,
        HeadKeeper(home._home_folder, lambda: float(NOW)),  # also after a restart
        home_in(tmp_path / "new", owned.anchor),
    ):
        assert reason_of(reads, keeper, stolen) == "signature"
    # The control: a home that has seen nothing of the change takes it, until the next directory.
    assert reads(home_in(tmp_path / "late", owned.first_anchor), stolen) == 4
    assert reads(home_in(tmp_path / "latest", owned.first_anchor), second) == 2


def vars_of(directory: Directory) -> dict[str, object]:
    return {name: getattr(directory, name) for name in Directory.__dataclass_fields__}


def test_two_keys_must_sign(world: World, home: HeadKeeper, tmp_path: Path) -> None:
    owned = world.owned
    first = world.sign()
    world.take(first)
    assert reads(home, first) == 1
    other = with_two(world, tmp_path)
    assert (owned.root.threshold, len(owned.root.keys)) == (2, 2)
    issued = owned.sign(PASSPHRASE)
    assert not issued.whole
    assert (owned.folder / "directory.fh").read_bytes() == first
    for call in (
        world.take,
        lambda data: reads(home, data),
        lambda d: owned.collect(read_draft(d)),
    ):
        assert reason_of(call, issued.data) == "signature"
    draft = read_draft((owned.folder / "directory.draft").read_bytes())
    owned.collect(co_sign(draft, other, THEIRS))
    second = (owned.folder / "directory.fh").read_bytes()
    assert not (owned.folder / "directory.draft").exists()
    world.take(second)
    assert reads(home, second) == 2
    # One of the two alone changes nothing, neither the keys.
    _, counts = owned.change_keys(PASSPHRASE, renew=True)
    assert not counts
    assert owned.root.number == 1
    with pytest.raises(DirectoryError):
        owned.collect(read_draft((owned.folder / "keys.draft").read_bytes()))


def test_a_new_key_that_others_have_to_sign(world: World, tmp_path: Path) -> None:
    owned, other = world.owned, with_two(world, tmp_path)
    before = owned.own_key(PASSPHRASE).public
    draft, counts = owned.change_keys(PASSPHRASE, renew=True)
    assert not counts
    assert owned.own_key(PASSPHRASE).public == before
    owned.collect(co_sign(draft, other, THEIRS))
    after = owned.own_key(PASSPHRASE).public
    assert after != before
    assert after in owned.root.keys
    assert owned.own_key(PASSPHRASE).public == after  # it is authority.fh now
    assert not (owned.folder / "authority.next.fh").exists()


def test_a_change_counts_whole_or_not_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends while it takes a change has the old keys or the new ones."""
    owned = world.owned
    before = owned.own_key(PASSPHRASE).public

    def ends(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(owned), "_take_root", ends)
        with pytest.raises(KeyboardInterrupt):
            owned.change_keys(PASSPHRASE, renew=True)
    assert owned.own_key(PASSPHRASE).public == before
    assert owned.root.number == 0
    owned.change_keys(PASSPHRASE, renew=True)
    assert owned.own_key(PASSPHRASE).public != before
    world.take(world.sign())


def test_drafts_of_different_things_are_not_merged(world: World, tmp_path: Path) -> None:
    other = with_two(world, tmp_path)
    first, second = (read_draft(world.owned.sign(PASSPHRASE).data) for _ in range(2))
    roots, _ = world.owned.change_keys(PASSPHRASE, threshold=1)
    for drafts in ([first, second], [first, roots], [roots, first]):
        assert reason_of(merged, drafts) == "draft"
    # Nor is a directory collected that is not the last one.
    (world.owned.folder / "directory.draft").unlink()
    assert reason_of(world.owned.collect, co_sign(first, other, THEIRS)) == "draft"
    both = merged([co_sign(second, other, THEIRS), second])
    assert isinstance(both, CoSigned)
    assert len(both.signatures) == 2


def test_a_key_of_a_co_owner_is_a_line_of_text(tmp_path: Path) -> None:
    key = make_owner_key(tmp_path / "other", THEIRS)
    assert read_owner((tmp_path / "other" / "owner.pub").read_text()) == key
    assert reason_of(make_owner_key, tmp_path / "other", THEIRS) == "exists"
    for text in ("", "nonsense", owner_text(key)[:-4], owner_text(key + b"x")):
        assert reason_of(read_owner, text) == "owner-key"
    assert len(key_name(key)) == 19
    assert reason_of(read_draft, b"nonsense") == "draft"
    with pytest.raises(StateError):
        co_sign(read_draft(_root_draft(key)), tmp_path / "other", PASSPHRASE)


def _root_draft(key: bytes) -> bytes:
    from fedhome.keys.roots import SignedRoot  # noqa: PLC0415

    return SignedRoot(root=Root.first(b"f" * 16, key).next([key], 1), signatures=()).to_bytes()


def test_an_anchor_has_one_form(world: World) -> None:
    owned = world.owned
    owned.change_keys(PASSPHRASE, renew=True)
    later = owned.anchor
    assert later.root == owned.root
    assert Anchor.from_bytes(later.to_bytes()) == later
    assert Anchor.from_text((owned.folder / "fleet.pub").read_text()) == later
    assert Anchor.from_text((owned.folder / "server" / "fleet.pub").read_text()) == later
    assert owned.first_anchor.to_bytes() in (owned.folder / "fleet.fh").read_bytes()
    for wrong in (b"nonsense", Root.first(later.fleet, later.authority).to_bytes()):
        bad = Anchor(fleet=later.fleet, authority=later.authority, later=wrong)
        assert reason_of(Anchor.from_text, bad.to_text()) == "anchor"


def test_an_invite_names_the_newest_keys(world: World) -> None:
    world.owned.change_keys(PASSPHRASE, renew=True)
    invite = world.invite("new")
    assert invite.expires == EXPIRES
    assert invite.from_text(invite.to_text()).anchor.root == world.owned.root


def test_a_new_server_key_counts_with_the_next_directory(world: World, home: HeadKeeper) -> None:
    first = world.sign()
    assert reads(home, first) == 1
    before = server_keys(world.place.fleet)
    world.owned.renew_server()
    after = server_keys(world.owned.folder / "server")
    second = world.sign()
    assert reason_of(world.take, second) == "server"  # the server has the last key still
    for name in ("server.fh", "server.key"):
        data = (world.owned.folder / "server" / name).read_bytes()
        (world.place.fleet / name).write_bytes(data)
    world.take(second)
    assert reads(home, second) == 2
    directory = Directory.verify(second, world.owned.root)
    said = Freshness.of(directory, now=NOW)
    assert reason_of(home.take, said.sign(before), directory) == "signature"
    home.take(said.sign(after), directory)


@pytest.mark.long
def test_the_commands_of_two_owners(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(PASSPHRASE)
    (tmp_path / "two").write_text(THEIRS)
    mine, theirs = ("--passphrase-file", "one"), ("--passphrase-file", "two")

    def run(*words: str) -> str:
        said = fedhome("fleet", *words, folder=tmp_path)
        assert said.returncode == 0, said.stderr
        return said.stdout

    run("init", "mine", *mine)
    run("add", *"abcde", "--fleet", "mine")
    run("directory", "--fleet", "mine", *mine)
    assert "1 of 1 must sign" in run("show", "--fleet", "mine")
    run("owner-key", "theirs", *theirs)
    add = ("--add", "theirs/owner.pub", "--threshold", "2")
    told = run("rotate", "--fleet", "mine", *add, *mine)
    assert "2 of 2" in told
    assert "other keys have to sign" in told
    run("cosign", "mine/keys.draft", "--key", "theirs", "--yes", *theirs)
    assert "the owner's keys are changed" in run("collect", "mine/keys.draft", "--fleet", "mine")
    assert "2 of 2 must sign" in run("show", "--fleet", "mine")
    assert "alone: other keys" in run("directory", "--fleet", "mine", *mine)
    shown = run("cosign", "mine/directory.draft", "--key", "theirs", "--yes", *theirs)
    assert "a, b, c, d, e" in shown
    run("collect", "mine/directory.draft", "--fleet", "mine")
    assert "epoch 2, holds until" in run("show", "--fleet", "mine")
    assert "made a new key" in run("new-server", "--fleet", "mine")
    wrong = fedhome("fleet", "rotate", "--fleet", "mine", "--drop", "x", *mine, folder=tmp_path)
    assert "no key of the owner is called x" in wrong.stderr


def test_a_home_follows_many_changes_at_once(
    world: World, home: HeadKeeper, tmp_path: Path
) -> None:
    for _ in range(3):
        world.owned.change_keys(PASSPHRASE, renew=True)
    assert reads(home, world.sign()) == 1
    assert reads(home_in(tmp_path / "new", world.owned.anchor), world.sign()) == 2
