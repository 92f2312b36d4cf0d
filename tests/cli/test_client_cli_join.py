"""`fedhome client join` on a home's device, against a real front over TLS."""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from fedhome.clients.home import real_home
from fedhome.clients.membership.consent_record import ConsentRecord
from fedhome.clients.membership.consent_summary import ALL_OF_IT, short_of
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.join import _plan_of
from fedhome.errors import (
    DataError,
    DirectoryError,
    InputsError,
    LinkError,
    PlanError,
    RunError,
    StateError,
)
from fedhome.fleet.cards import Card
from fedhome.fleet.entries import fingerprint, home_keys
from fedhome.fleet.invites import Invite
from fedhome.fleet.owner_folder import Fleet
from fedhome.plan.settings import Plan
from fedhome.server.daemon.server_folder import ServerFolder
from helpers.client_world import (
    HOST,
    HOURS,
    PLAN,
    World,
    disk_held,
    fedhome,
    front_of,
    join,
    joined,
    not_started,
    owned_in,
    refused,
    started,
    world_of,
    write_readings,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, ServerFolder]]:
    with owned_in(tmp_path_factory.mktemp("fleet")) as owned:
        yield owned


@pytest.fixture(scope="module")
def front(owned: tuple[Fleet, ServerFolder]) -> Iterator[None]:
    with front_of(owned[1]):
        yield


@pytest.fixture
def world(
    owned: tuple[Fleet, ServerFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    """The server is away, unless a test uses its front."""
    return world_of(owned, tmp_path, monkeypatch)


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_a_device_joins(world: World) -> None:
    done = join(world.invite())
    assert done.exit_code == 0, done.exception
    for words in (
        f"{HOURS} rows over 9.0 days, 2023-11-14 to 2023-11-23",
        "2: load_kwh, outdoor_c",
        "tiny: predict load_kwh",
        "WHAT YOU AGREE TO\n",
        f"  server  {world.card.server}\n",
        "Take part as oak? [y/N, or all: every point]: y",
        "next: `fedhome client start oak`",
    ):
        assert words in done.output
    place = HomeFolder(world.device / "oak")
    keys, made = home_keys("oak", place.path)
    assert not made
    assert f"fingerprint: {fingerprint(keys.entry())}" in done.output
    assert place.settings.data == str(world.device / "readings.parquet")
    assert (place.settings.home, place.settings.server) == ("oak", world.card.server)
    assert (place.anchor, place.authorities) == (world.fleet.anchor, world.card.authorities)
    consent = ConsentRecord.of(place)
    assert consent is not None
    assert short_of(consent.text) in done.output
    assert consent.text not in done.output
    # The server has it, and the owner admits these very keys.
    (name,) = world.pending()
    (entry,) = world.fleet.admit((world.server.path / "enrolments" / name).read_bytes())
    assert entry == keys.entry()
    world.fleet.revoke("oak")


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_joining_again_keeps_the_keys_and_the_consent(world: World) -> None:
    place = joined(world)
    keys, _ = home_keys("oak", place.path)
    settings = (place.path / "home.toml").read_text()
    (place.path / "home.toml").write_text(settings.replace("120.0", "7.5"))
    before = (place.path / "consent.json").read_bytes()
    again = join(world.device / "oak.invite", answer=None)  # nobody is asked
    assert again.exit_code == 0, again.exception
    assert "agreed to the same on" in again.output
    assert "kept the keys" in again.output
    newer = join(world.invite(), answer=None)
    assert newer.exit_code == 0, newer.exception
    assert home_keys("oak", place.path)[0].entry() == keys.entry()
    assert (place.path / "consent.json").read_bytes() == before
    assert place.settings.worker_idle_s == 7.5  # what was changed by hand stays
    assert len(world.pending()) == 2


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_a_home_with_a_store_that_joins_again_reads_that_and_says_so(world: World) -> None:
    joined(world)
    assert fedhome("record", "oak").exit_code == 0
    (world.device / "readings.parquet").rename(world.device / "elsewhere.parquet")
    again = join(world.device / "oak.invite", answer=None)
    assert again.exit_code == 0, again.exception
    assert f"{HOURS} rows over 9.0 days" in again.output
    assert "the home reads its store of readings, and not" in again.output


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_a_new_plan_asks_anew(world: World) -> None:
    place = joined(world)
    before = place.plan_path.read_bytes()
    invite = world.invite(plan=PLAN.change(rounds={"count": 2}).to_toml())
    declined = join(invite, answer="n\n")
    assert "WHAT YOU AGREE TO" in declined.output
    assert ALL_OF_IT not in declined.output
    told = join(invite, answer="perhaps\nall\nno\n").output
    assert told.index("answer y, n or all") < told.index(ALL_OF_IT)
    assert told.index(ALL_OF_IT) < told.index("declined: nothing was written")
    assert ALL_OF_IT in join(invite, "--all", answer="n\n").output
    assert place.plan_path.read_bytes() == before
    assert join(invite).exit_code == 0
    assert place.plan_path.read_bytes() != before
    assert started(place)


@pytest.mark.long
def test_declining_writes_and_sends_nothing(world: World) -> None:
    for answer in ("n\n", "\n", ""):
        declined = join(world.invite(), answer=answer)
        assert declined.exit_code == 1
        assert not (world.device / "oak").exists()
    assert "nothing was written, and nothing was sent" in join(world.invite(), answer="n\n").output


@pytest.mark.long
def test_a_server_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    invite = world.invite(card=Card(server=f"{HOST}:9", authorities=world.card.authorities))
    error = refused(join(invite), LinkError, "cannot be reached")
    for words in ("that the server runs", "address and port", "try again", "a newer invite"):
        assert words in error.hint
    place = HomeFolder(world.device / "oak")
    keys, made = home_keys("oak", place.path)
    assert not made
    refused(fedhome("start", "oak"), RunError, "join")
    refused(fedhome("status", "oak"), RunError, "join")
    # It comes back: the very same keys enrol.
    posted: list[bytes] = []

    def ask(server: str, authorities: bytes, _: str, body: bytes) -> bytes:
        assert (server, authorities) == (f"{HOST}:9", world.card.authorities)
        posted.append(body)
        return answered.to_bytes()

    from fedhome.fleet.invites import EnrolmentResponse  # noqa: PLC0415

    answered = EnrolmentResponse(admitted=True)
    monkeypatch.setattr("fedhome.clients.membership.join.ask", ask)
    done = join(invite)
    assert done.exit_code == 0, done.exception
    assert "has admitted this home already" in done.output
    assert world.fleet.check(posted[0]).entry == keys.entry()


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_what_the_server_refuses_is_told(world: World) -> None:
    invite = world.invite()
    assert join(invite).exit_code == 0
    # The same invite on a second device.
    error = refused(join(invite, "--home", "other"), LinkError, "used by another device")
    assert error.hint
    refused(fedhome("start", "other"), RunError, "join")
    # No keys stay behind that no fleet knows; what was in the folder before does.
    assert not (world.device / "other").exists()
    (world.device / "other").mkdir()
    (world.device / "other" / "notes.txt").write_text("mine")
    refused(join(invite, "--home", "other"), LinkError, "used by another device")
    assert [path.name for path in (world.device / "other").iterdir()] == ["notes.txt"]


@pytest.mark.long
def test_an_invite_that_does_not_hold(world: World) -> None:
    text = world.invite().read_text()
    path = world.device / "bad.invite"
    path.write_text(text[:-40])
    refused(join(path), DirectoryError, "damaged")
    path.write_bytes(b"\xff\xfe")
    refused(join(path), DirectoryError, "damaged")
    refused(join(world.device / "none.invite"), StateError, "none.invite")
    fleet = world.fleet
    old = Invite.create(
        fleet.inviter, anchor=fleet.anchor, home="oak", card=world.card, plan="", expires=1
    )
    path.write_text(old.to_text())
    refused(join(path), DirectoryError, "held until 1970-01-01")
    for plan, words in (("a = [", "not TOML"), ("[data]\ncolour = 1", "data.colour")):
        refused(join(world.invite(plan=plan)), PlanError, words)
    assert not (world.device / "oak").exists()


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_columns_are_found_by_name_and_the_home_says_how_its_file_calls_them(world: World) -> None:
    table = pq.read_table(world.device / "readings.parquet")
    other = table.rename_columns(["time", "Verbrauch (kWh)", "outdoor_c"])
    extra = other.append_column("garage", other["outdoor_c"])
    pq.write_table(
        extra.select(["garage", "outdoor_c", "time", "Verbrauch (kWh)"]),
        world.device / "readings.parquet",
    )
    invite = world.invite()
    error = refused(join(invite), InputsError, "home 'oak' lacks the column load_kwh")
    assert "its columns are: garage, outdoor_c, Verbrauch (kWh)" in error.hint
    assert not (world.device / "oak").exists()
    for setting, words in (
        ("remane={}", "did you mean 'rename'?"),
        ("decimal=;", "decimal"),
        ("nonsense", "not of the form"),
    ):
        refused(join(invite, "--set", setting), PlanError, words)
    renamed = 'rename={"Verbrauch (kWh)"="load_kwh"}'
    done = join(invite, "--set", renamed, "--set", "data.decimal=.")
    assert done.exit_code == 0, done.exception
    lines = [" ".join(line.replace("│", " ").split()) for line in done.output.splitlines()]
    assert f"outdoor_c outdoor_c number °C 0 of {HOURS} rows" in lines
    assert f"Verbrauch (kWh) load_kwh, predicted number kWh 0 of {HOURS} rows" in lines
    assert "note: not used, as not in all homes or not in the plan: garage" in lines
    assert done.output.index("without a reading") < done.output.index("Take part as oak?")
    place = HomeFolder(world.device / "oak")
    own = {"rename": {"Verbrauch (kWh)": "load_kwh"}, "decimal": "."}
    assert place.settings.reading == own
    # The agent reads as it was said here, and so does whoever joins again.
    settings = place.settings
    home = real_home(PLAN, settings.data, name="oak", reading=settings.reading)
    assert sum(home.device.examples.counts) > 0
    assert join(world.invite(), answer=None).exit_code == 0
    assert place.settings.reading == own


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_a_home_of_a_plan_that_names_no_inputs_is_told_what_to_do(world: World) -> None:
    text = PLAN.to_toml()
    old = "\n".join(line for line in text.splitlines() if "outdoor_c" not in line)
    old = old.replace("inputs = [\n]\n", "")
    assert Plan.parse(tomllib.loads(old)).data.inputs is None
    error = refused(join(world.invite(plan=old)), PlanError, "data.inputs is not set")
    assert "--like FILE" in error.hint
    place = joined(world)
    # As an earlier release left it: the plan is the one that was agreed to, and has no inputs.
    (place.path / "plan.toml").write_text(old)
    consent = ConsentRecord.of(place)
    assert consent is not None
    replace(consent, plan=hashlib.sha256(old.encode()).hexdigest()).keep(place)
    not_started(place, "the plan of oak does not name its inputs")
    not_started(place, "`fedhome fleet invite oak --again --like FILE`")
    # Or with more passes than this release takes.
    old = re.sub(r"local_epochs = \d+", "local_epochs = 2000", text)
    (place.path / "plan.toml").write_text(old)
    replace(consent, plan=hashlib.sha256(old.encode()).hexdigest()).keep(place)
    not_started(place, "local_epochs: input should be less than or equal to 1000")
    not_started(place, "`fedhome fleet invite oak --again --like FILE`")


@pytest.mark.long
def test_readings_that_do_not_fit(world: World) -> None:
    invite = world.invite()
    write_readings(world.device / "readings.parquet", target="power")
    refused(join(invite), DataError, "home 'oak' lacks the column load_kwh")
    write_readings(world.device / "readings.parquet", hours=12)
    refused(join(invite), DataError, "too few whole rows")
    (world.device / "readings.parquet").unlink()
    refused(join(invite), DataError, "readings.parquet")
    assert not (world.device / "oak").exists()


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_a_folder_is_one_homes_of_one_fleet(world: World, tmp_path: Path) -> None:
    place = joined(world)
    refused(join(world.invite("elm"), "--home", "oak"), RunError, "is of home oak")
    (place.path / "home.toml").unlink()  # as after a lost answer: the keys tell it too
    refused(join(world.invite("elm"), "--home", "oak"), StateError, "is of home 'oak'")
    with Fleet.create(tmp_path / "stranger", "correct horse") as stranger:
        other = World(stranger, world.card, world.device, world.server)
        refused(join(other.invite()), RunError, "another fleet")
    assert join(world.invite()).exit_code == 0
    with disk_held(place.path):
        refused(join(world.invite()), StateError, "in use")


@pytest.mark.long
def test_an_invite_runs_no_code_of_its_writers_choice_unless_the_device_lets_it(
    world: World,
) -> None:
    """Any function that is installed can be named, torch's own that fetches and runs code, too."""
    ran = world.device / "ran"
    (world.device / "hubconf.py").write_text(
        "import pathlib, torch\n"
        "def net(features, outputs):\n"
        f"    pathlib.Path({str(ran)!r}).touch()\n"
        "    return torch.nn.Linear(features, outputs)\n"
    )
    named = {"repo_or_dir": str(world.device), "model": "net", "source": "local"}
    plan = PLAN.change(model={"name": "torch.hub:load", "args": named})
    invite = world.invite(plan=plan.to_toml())
    error = refused(join(invite, answer="n\n"), RunError, "model 'torch.hub:load' with")
    assert "'source'='local'" in error.message, "and with what"
    assert not ran.exists()
    assert not (world.device / "oak").exists()
    declined = join(invite, "--own-code", answer="n\n")
    assert "declined: nothing was written" in declined.output
    assert "it runs code that is not fedhome's: model 'torch.hub:load'" in declined.output
    assert ran.exists(), "the control: it would have, before anybody agreed"


@pytest.mark.parametrize(
    "part",
    [
        {"task": {"kind": "os:system"}},
        {"method": {"name": "os:system"}},
        {"personalise": {"name": "/srv/theirs.py:adapt"}},
    ],
)
def test_all_that_a_home_would_run_is_named(world: World, part: dict[str, dict[str, str]]) -> None:
    invite = world.invite(plan=PLAN.change(**part).to_toml())
    (name,) = (value for settings in part.values() for value in settings.values())
    refused(join(invite), RunError, repr(name))


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_code_that_was_agreed_to_is_not_asked_about_again(world: World) -> None:
    plan = PLAN.change(model={"name": "helpers.elsewhere:Scaled"}).to_toml()
    assert join(world.invite(plan=plan), "--own-code").exit_code == 0
    assert join(world.invite(plan=plan)).exit_code == 0
    other = PLAN.change(model={"name": "helpers.elsewhere:Scaled"}, seed=9).to_toml()
    refused(join(world.invite(plan=other)), RunError, "helpers.elsewhere:Scaled")


def test_a_plan_whose_network_would_take_all_memory_is_refused_unbuilt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anybody has agreed, the network is built, to tell how many numbers it has."""
    monkeypatch.setattr("torch.nn.Linear.__init__", lambda *_, **__: pytest.fail("it was built"))
    invite = world.invite(plan=PLAN.change(model={"hidden": [200_000, 200_000]}).to_toml())
    refused(join(invite), PlanError, "comes to some 40,002,000,000 numbers")
    # One layer is large enough, where the inputs that the plan names are counted in.
    invite = world.invite(plan=PLAN.change(model={"hidden": [2**25 - 1]}).to_toml())
    refused(join(invite), PlanError, "model.hidden comes to some")
    with pytest.raises(PlanError, match="is not TOML"):
        _plan_of(SimpleNamespace(plan="a = " + "[" * 100_000))  # type: ignore[arg-type]


_CLEARED = "load\x1b[2J\nnothing leaves this device"


@pytest.mark.long
def test_an_invite_writes_nothing_over_what_people_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal obeys escapes: with one in a column's name, the text can be cleared away."""
    plan = PLAN.change(data={"target": _CLEARED, "rename": {"load_kwh": _CLEARED}})
    invite = world.invite(plan=plan.to_toml())
    error = refused(join(invite, answer="n\n"), PlanError, "data.target is 'load")
    assert "\x1b" not in error.message
    monkeypatch.setattr("fedhome.clients.membership.join.hidden_in", lambda _: ())
    told = join(invite, answer="n\n").output
    assert "\nnothing leaves this device" in told, "the control: a line of the invite's own"
    assert "\x1b" not in told, "which a terminal would obey"


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ('[data]\n"\\u001b[2J" = 1', "a name in data is '\\x1b[2J'"),
        ('[data]\ninputs = [{name = "a\\u202eb"}]', "data.inputs.name is 'a\\u202eb'"),
        ('[task]\nclasses = ["off", "on\\rno"]', "task.classes is 'on\\rno'"),
        ('[model]\nname = "x:y"\nargs = {z = "\\u009b2J"}', "model.args.z is '\\x9b2J'"),
    ],
)
def test_no_part_of_an_invites_plan_does(world: World, plan: str, words: str) -> None:
    error = refused(join(world.invite(plan=plan)), PlanError, words)
    assert all(one.isprintable() or one == "\n" for one in error.message)
