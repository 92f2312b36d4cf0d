"""The server's certificate for years: renewed under the same authority, whatever cuts it off."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.errors import RunError, StateError
from fedhome.fleet.owner_folder import Fleet
from fedhome.ops import tls
from fedhome.ops.clock_steps import ClockSteps
from fedhome.ops.listening import free_port
from fedhome.ops.processes import Processes
from fedhome.server.daemon.initialise import make_server
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from fedhome.server.daemon.supervisor import Daemon
from fedhome.store import disk
from helpers.living import lines_until
from helpers.patience import PATIENCE_S

NAMES = ["hub.example", "10.0.0.7", "::1"]
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tls.make_certificates(tmp_path / "tls", NAMES, now=NOW)
    return tmp_path / "tls"


def certificate(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / tls.CERTIFICATE).read_bytes())


def days(count: float) -> timedelta:
    return timedelta(days=count)


def greets(folder: Path, authorities: bytes, name: str = "hub.example") -> bytes:
    """Let a home of old greet a server with this folder's certificate; return what it was shown."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / tls.CERTIFICATE, folder / tls.KEY)
    client = ssl.create_default_context(cadata=authorities.decode())
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    home = client.wrap_bio(down, up, server_hostname=name)
    hub = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for end in (home, hub):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = home.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_what_is_made_is_good_for_years_and_no_secret_is_open(folder: Path) -> None:
    terms = tls.terms_of(folder)
    assert terms.names == tuple(NAMES)
    assert days(824) < terms.ends - NOW <= days(825)
    assert days(3649) < terms.authority_ends - NOW <= days(3650)
    for name in (tls.KEY, tls.CA_KEY):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    greets(folder, (folder / tls.CA).read_bytes())


def test_a_renewal_keeps_authority_and_names_and_nothing_else(folder: Path) -> None:
    authorities = (folder / tls.CA).read_bytes()
    before, key = certificate(folder), (folder / tls.KEY).read_bytes()
    terms = tls.renew_certificate(folder, now=NOW + days(800))
    after = certificate(folder)
    assert terms == tls.terms_of(folder)
    assert terms.names == tuple(NAMES)
    assert terms.ends == NOW + days(1625)
    assert (folder / tls.CA).read_bytes() == authorities
    assert (folder / tls.KEY).read_bytes() != key
    assert before.public_key() != after.public_key()
    assert before.serial_number != after.serial_number
    assert not list(folder.glob("*.new"))


@pytest.mark.parametrize("name", NAMES)
def test_a_home_of_old_greets_the_renewed_server(folder: Path, name: str) -> None:
    authorities = (folder / tls.CA).read_bytes()
    before = greets(folder, authorities, name)
    tls.renew_certificate(folder)
    assert greets(folder, authorities, name) != before


def test_other_names(folder: Path) -> None:
    authorities = (folder / tls.CA).read_bytes()
    tls.renew_certificate(folder, ["new.example"])
    assert tls.terms_of(folder).names == ("new.example",)
    greets(folder, authorities, "new.example")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"hub\.example"):
        greets(folder, authorities)


def test_no_certificate_outlives_its_authority(folder: Path) -> None:
    end = tls.terms_of(folder).authority_ends
    terms = tls.renew_certificate(folder, now=end - days(10))
    assert terms.ends == end
    with pytest.raises(StateError, match="has expired") as refused:
        tls.renew_certificate(folder, now=end)
    assert refused.value.reason == "expired"
    assert "server init" in refused.value.hint
    assert tls.terms_of(folder) == terms


def test_a_clock_before_the_authority(folder: Path) -> None:
    with pytest.raises(StateError) as refused:
        tls.renew_certificate(folder, now=datetime(1970, 1, 2, tzinfo=UTC))
    assert refused.value.reason == "clock"


def test_when_it_is_time(folder: Path) -> None:
    terms = tls.terms_of(folder)
    assert not terms.is_due(terms.ends - days(30))
    assert terms.is_due(terms.ends - days(30) + timedelta(seconds=1))
    assert terms.is_due(terms.ends + days(400))
    last = tls.renew_certificate(folder, now=terms.authority_ends - days(10))
    assert not last.is_due(terms.authority_ends - days(1)), "another one would end no later"


@pytest.mark.parametrize(
    ("name", "reason"), [(tls.CA_KEY, "missing"), (tls.CA, "missing"), (tls.CERTIFICATE, "missing")]
)
def test_a_file_is_missing(folder: Path, name: str, reason: str) -> None:
    key = (folder / tls.KEY).read_bytes()
    (folder / name).unlink()
    with pytest.raises(StateError) as refused:
        tls.renew_certificate(folder)
    assert refused.value.reason == reason
    assert refused.value.hint
    assert (folder / tls.KEY).read_bytes() == key


@pytest.mark.parametrize("name", [tls.CA_KEY, tls.CA, tls.CERTIFICATE])
def test_a_file_is_damaged(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"nonsense")
    with pytest.raises(StateError) as refused:
        tls.renew_certificate(folder)
    assert refused.value.reason == "altered"
    assert refused.value.hint


def test_another_authoritys_key(folder: Path, tmp_path: Path) -> None:
    tls.make_certificates(tmp_path / "other", NAMES)
    (folder / tls.CA_KEY).write_bytes((tmp_path / "other" / tls.CA_KEY).read_bytes())
    with pytest.raises(StateError, match="is not the key of") as refused:
        tls.renew_certificate(folder)
    assert refused.value.reason == "altered"


class Crash(BaseException):
    """The process ends here."""


def test_a_crash_at_each_step_leaves_a_pair_or_what_makes_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorities = (folder / tls.CA).read_bytes()
    steps = 0
    while True:
        count = 0

        def step(real: str, *arguments: object, at: int = steps, **named: object) -> object:
            nonlocal count
            count += 1
            if count > at:
                raise Crash
            return REAL[real](*arguments, **named)  # type: ignore[operator]

        before = greets(folder, authorities)
        with monkeypatch.context() as patch:
            for name in REAL:
                patch.setattr(disk, name, lambda *a, name=name, **k: step(name, *a, **k))
            try:
                tls.renew_certificate(folder)
            except Crash:
                pass
            else:
                break
        finished = tls.mend(folder)
        assert not tls.mend(folder)
        assert (greets(folder, authorities) != before) == (steps == 3)
        assert finished == (steps == 3), "only between the two files is there something to finish"
        steps += 1
    assert steps == 4


REAL = {"stage": disk.stage, "commit": disk.commit}


def test_a_pair_that_nothing_here_mends(folder: Path, tmp_path: Path) -> None:
    tls.make_certificates(tmp_path / "other", NAMES)
    (folder / tls.KEY).write_bytes((tmp_path / "other" / tls.KEY).read_bytes())
    with pytest.raises(StateError) as refused:
        tls.mend(folder)
    assert refused.value.reason == "altered"
    assert "fedhome server renew" in refused.value.hint
    tls.renew_certificate(folder)
    assert not tls.mend(folder)


@pytest.mark.parametrize("name", [tls.KEY, tls.CA_KEY])
def test_a_key_that_others_may_read_is_refused(folder: Path, name: str) -> None:
    """Whoever copies a folder easily leaves it so; until now it was used as it lay."""
    use = {tls.KEY: tls.mend, tls.CA_KEY: tls.renew_certificate}[name]
    use(folder)  # the control
    (folder / name).chmod(0o644)
    with pytest.raises(StateError, match="can be read by others") as refused:
        use(folder)
    assert refused.value.reason == "permissions"


def test_one_process_renews_at_a_time(folder: Path) -> None:
    lock = disk.lock(folder)
    try:
        for ask in (tls.renew_certificate, tls.mend):
            with pytest.raises(StateError) as refused:
                ask(folder)
            assert refused.value.reason == "in-use"
    finally:
        os.close(lock)


@pytest.fixture
def place(tmp_path: Path) -> ServerFolder:
    settings = ServerSettings(host="127.0.0.1", port=free_port())
    return ServerFolder.create(tmp_path / "hub", settings, names=["127.0.0.1", "localhost"])


def said(*words: str | Path) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_keeps_the_names(place: ServerFolder) -> None:
    card = place.card
    told = said("server", "renew", place.path)
    assert told == f"renewed: for 127.0.0.1, localhost, until {certificate_end(place)}\n"
    assert place.card == card
    assert tls.terms_of(place.tls).names == ("127.0.0.1", "localhost")


def test_the_command_gives_other_names(place: ServerFolder) -> None:
    told = said("server", "renew", place.path, "--host", "hub.example", "--host", "fd00::1")
    assert tls.terms_of(place.tls).names == ("hub.example", "fd00::1")
    assert "homes that have joined know this server as 127.0.0.1" in told
    assert place.card.server == f"hub.example:{place.settings.port}"
    assert f"{place.card_path} is new" in told
    told = said("server", "renew", place.path, "--host", "fd00::1", "--host", "hub.example")
    assert place.card.server == f"[fd00::1]:{place.settings.port}"
    assert "warning" not in told


def test_the_command_takes_no_nonsense(place: ServerFolder) -> None:
    before = (place.tls / tls.CERTIFICATE).read_bytes()
    done = CliRunner().invoke(app, ["server", "renew", str(place.path), "--host", "https://hub"])
    assert isinstance(done.exception, RunError)
    assert (place.tls / tls.CERTIFICATE).read_bytes() == before


def certificate_end(place: ServerFolder) -> str:
    return certificate(place.tls).not_valid_after_utc.date().isoformat()


def test_the_daemon_renews_in_time_and_notices(place: ServerFolder) -> None:
    lines: list[str] = []
    daemon = Daemon(place, lines.append)
    assert daemon._tend_certificate(), "the first look"
    assert not daemon._tend_certificate()
    tls.renew_certificate(place.tls)
    assert daemon._tend_certificate()
    assert not daemon._tend_certificate()
    tls.make_certificates(place.tls, ["hub"], now=NOW - days(825 - 29))  # 29 days are left
    soon = tls.terms_of(place.tls).ends
    late = Daemon(place, lines.append)
    assert late._tend_certificate()
    assert tls.terms_of(place.tls).ends > soon + days(700)
    assert tls.terms_of(place.tls).names == ("hub",)
    assert lines == []


def test_the_daemon_says_what_it_cannot_do_and_goes_on(place: ServerFolder) -> None:
    lines: list[str] = []
    tls.make_certificates(place.tls, ["hub"], now=NOW - days(810))
    (place.tls / tls.CA_KEY).unlink()
    daemon = Daemon(place, lines.append)
    assert not daemon._tend_certificate()
    assert len(lines) == 1
    assert "ca.key is missing" in lines[0]
    assert daemon._tend_certificate(), "the certificate that there is is looked at"


def test_what_a_clock_that_was_ahead_has_made_is_made_anew(place: ServerFolder) -> None:
    """By a clock of 2040 the certificate is at its end; then the network sets the clock."""
    lines: list[str] = []
    wall = [1000.0]
    daemon = Daemon(place, lines.append, clock=ClockSteps(lambda: wall[0], lambda: 0.0))
    assert daemon._tend_certificate(), "the first look"
    tls.renew_certificate(place.tls, now=NOW + days(1500))
    wrong = tls.terms_of(place.tls)
    assert wrong.begins > NOW + days(1000)
    assert not _homes_connect(place)
    assert [fault[:28] for fault in wrong.faults(NOW)] == ["the certificate is good from"]
    daemon._tend_clock()
    assert daemon._tend_certificate(), "it is another one"
    assert tls.terms_of(place.tls) == wrong, "nothing was set: it is looked at once an hour"
    assert lines == []
    wall[0] -= days(1500).total_seconds()
    daemon._tend_clock()
    assert lines[0].startswith("this machine's clock was set by 1500 days back")
    assert daemon._tend_certificate()
    right = tls.terms_of(place.tls)
    assert right.begins < NOW + days(1)
    assert right.faults(NOW) == []
    assert _homes_connect(place)


def _homes_connect(place: ServerFolder) -> bool:
    """Whether homes whose clock is right take the certificate."""
    name = tls.terms_of(place.tls).names[0]
    try:
        greets(place.tls, (place.tls / tls.CA).read_bytes(), name)
    except ssl.SSLCertVerificationError:
        return False
    return True


def test_a_server_whose_clock_is_behind_says_so_and_changes_nothing(place: ServerFolder) -> None:
    before = certificate(place.tls)
    with pytest.raises(StateError, match="this machine's clock says 1970-01-02") as caught:
        tls.renew_if_due(place.tls, datetime(1970, 1, 2, tzinfo=UTC))
    assert caught.value.reason == "clock"
    assert "NTP" in caught.value.hint
    assert certificate(place.tls) == before


def test_the_end_of_an_authority_is_told_half_a_year_before(folder: Path) -> None:
    terms = tls.terms_of(folder)
    last = tls.renew_certificate(folder, now=terms.authority_ends - days(200))
    assert last.faults(terms.authority_ends - days(181)) == []
    (told,) = last.faults(terms.authority_ends - days(179))
    assert "authority is good for 179 more days" in told
    assert "`fedhome server init`" in told
    (told,) = terms.faults(terms.ends - days(29))
    assert "renews it by itself" in told
    (told,) = terms.faults(terms.ends - days(1))
    assert "good for 1 more day: homes" in told


def test_the_daemon_waits_for_who_renews(place: ServerFolder) -> None:
    lines: list[str] = []
    daemon = Daemon(place, lines.append)
    daemon._tend_certificate()
    tls.renew_certificate(place.tls)
    lock = disk.lock(place.tls)
    assert not daemon._tend_certificate()
    os.close(lock)
    assert daemon._tend_certificate()
    assert lines == []


@contextmanager
def front(place: ServerFolder) -> Iterator[None]:
    """Run the real front, without a SuperLink behind it."""
    with Processes() as processes:
        processes.start("front", "fedhome.server.daemon.front", str(place.path))

        def up() -> bool:
            with socket.socket() as trial:
                return trial.connect_ex(("127.0.0.1", place.settings.port)) == 0

        processes.until(up, what="the front came up", timeout_s=PATIENCE_S)
        yield


def shown(place: ServerFolder, authorities: bytes) -> bytes:
    context = ssl.create_default_context(cadata=authorities.decode())
    address = ("127.0.0.1", place.settings.port)
    with (
        socket.create_connection(address, timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        told = wrapped.getpeercert(binary_form=True)
    assert told is not None
    return told


@pytest.mark.slow
def test_the_real_front_serves_homes_of_old(place: ServerFolder) -> None:
    authorities = (place.tls / tls.CA).read_bytes()
    with front(place):
        before = shown(place, authorities)
    tls.renew_certificate(place.tls)
    with front(place):
        after = shown(place, authorities)
        tls.make_certificates(place.path / "evil", ["localhost"])
        evil = (place.path / "evil" / tls.CA).read_bytes()
        with pytest.raises(ssl.SSLCertVerificationError):
            shown(place, evil)
    assert before != after


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="starts processes that end with this one")
def test_a_server_that_runs_takes_a_renewed_certificate(tmp_path: Path) -> None:
    with Fleet.create(tmp_path / "owner", "a passphrase that is long enough") as fleet:
        owner = fleet.folder
    place = make_server(
        tmp_path / "hub", hosts=["localhost"], port=free_port(), listen="127.0.0.1", fleet=owner
    )
    authorities = place.card.authorities
    command = [Path(sys.executable).parent / "fedhome", "server", "start", place.path]
    daemon = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        lines_until(daemon, "ready at ")
        before = shown(place, authorities)
        assert "the server takes it within seconds" in said("server", "renew", place.path)
        deadline = time.monotonic() + PATIENCE_S
        while (now := shown_or_none(place, authorities)) in {None, before}:
            assert time.monotonic() < deadline
            os.sched_yield()
        assert now == certificate(place.tls).public_bytes(serialization.Encoding.DER)
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0
    finally:
        daemon.kill()
        daemon.wait()
        assert daemon.stdout is not None
        daemon.stdout.close()


def shown_or_none(place: ServerFolder, authorities: bytes) -> bytes | None:
    try:
        return shown(place, authorities)
    except OSError:  # between two fronts
        return None
