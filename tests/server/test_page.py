"""The page for operators: who may see it, what is on it, and what never is."""

from __future__ import annotations

import asyncio
import base64
import html
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from fedhome.errors import RunError, StateError
from fedhome.fleet.owner_folder import Fleet
from fedhome.ops import tls
from fedhome.ops.listening import free_port
from fedhome.run.events import Event, EventLog, read_events
from fedhome.server.daemon.health import PAGE_IS_UP, Health
from fedhome.server.daemon.initialise import make_server
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from fedhome.server.daemon.server_status import RefusingHome
from fedhome.server.page import page_process
from fedhome.server.page.fleet_metrics import METRICS, metrics_text
from fedhome.server.page.page_address import PageAddress, beside, page_address
from fedhome.server.page.page_content import PageContent, PageReader, rounds_of
from fedhome.server.page.page_door import PageDoor, Resource
from fedhome.server.page.page_token import TOKEN, permits, token_of
from fedhome.server.page.page_view import page_html
from fedhome.server.rounds.left_out_home import LeftOutHome
from fedhome.store.settings_file import write_settings
from helpers.client_world import until
from helpers.patience import PATIENCE_S
from helpers.server_states import CALM
from helpers.server_states import RUN as PLAIN_RUN

ROOT = Path(__file__).resolve().parents[2]
NASTY = '<script>alert("x")</script>'
LOSSES = ("train_loss", "validation_loss", "validation_score")
ROW = {
    "homes_asked": 5,
    "homes_answered": 4,
    "homes_dropped": 1,
    "homes_late": 0,
    "train_loss": 0.5,
    "validation_loss": 0.625,
    "validation_score": 0.375,
    "bytes_up": 1000,
    "bytes_down": 3000,
    "seconds_train": 1.5,
    "seconds_evaluate": 0.5,
    "seconds_other": 0.25,
}
REFUSES = RefusingHome(
    home=NASTY, question="train", reason="replayed", why="<b>why</b>", remedy="mend it", since=""
)
RUN = replace(PLAIN_RUN, round=2, refusing=(REFUSES,))
STATUS = replace(
    CALM,
    fleet="0f" * 16,
    connected=["ash", NASTY],
    pending=2,
    run=RUN,
    left_out=[
        LeftOutHome(home="elm", identity="", reason="it <i>spoils</i> sums", run="r", time="")
    ],
    refusing=[replace(REFUSES, home="oak", question="", reason="clock")],
    page="http://127.0.0.1:8444/",
    faults=["the disk is full"],
)


def log_of(tmp_path: Path, *events: tuple[str, Mapping[str, Any]]) -> list[Event]:
    with EventLog(tmp_path / "events.jsonl") as log:
        for kind, data in events:
            log.append(kind, **data)
    return read_events(tmp_path / "events.jsonl")


def content_of(events: list[Event], **changes: Any) -> PageContent:
    rounds, hidden = rounds_of(events)
    time = datetime(2026, 12, 1, 12, 0, 5, tzinfo=UTC)
    whole = PageContent(time=time, status=STATUS, events=events, rounds=rounds, hidden=hidden)
    return replace(whole, **changes)


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text.decode())
        for one in family.samples
    }


@pytest.mark.parametrize(
    ("text", "host", "url"),
    [
        ("127.0.0.1:8444", "127.0.0.1", "http://127.0.0.1:8444/"),
        ("[::1]:1", "::1", "http://[::1]:1/"),
        ("0.0.0.0:8444", "0.0.0.0", "https://hub.example:8444/"),  # noqa: S104 - compared
        ("10.0.0.7:65535", "10.0.0.7", "https://hub.example:65535/"),
    ],
)
def test_an_address_off_loopback_is_one_of_tls(text: str, host: str, url: str) -> None:
    address = page_address(text)
    assert address is not None
    assert address.host == host
    assert address.url("hub.example") == url


@pytest.mark.parametrize(
    "text", ["8444", "hub.example:8444", "127.0.0.1:0", "1.2.3.4:65536", "::1:5"]
)
def test_an_address_that_cannot_be_is_refused_with_one_that_can(text: str) -> None:
    with pytest.raises(RunError, match="cannot be") as refused:
        ServerSettings(host="127.0.0.1", port=1, page=text)
    assert "127.0.0.1:8444" in refused.value.hint


def test_no_address_is_no_page_and_the_usual_one_is_beside_the_homes_port() -> None:
    assert page_address("") is None
    assert ServerSettings(host="127.0.0.1", port=1).page == ""
    assert beside(8443) == "127.0.0.1:8444"
    assert beside(65_535) == "127.0.0.1:65534"


def test_a_token_is_shown_as_a_bearers_or_as_a_password_and_nothing_else_is() -> None:
    def basic(text: str) -> bytes:
        return b"Basic " + base64.b64encode(text.encode())

    assert permits(b"Bearer right", "right")
    assert permits(b"bearer  right", "right")
    assert permits(basic("anybody:right"), "right")
    assert permits(basic(":with:colon"), "with:colon")
    for shown in (b"", b"right", b"Bearer", b"Bearer wrong", b"Bearer rightx", b"Digest right"):
        assert not permits(shown, "right")
    for shown in (basic("right"), basic("right:"), basic("x:wrong"), b"Basic ?", b"Basic \xff"):
        assert not permits(shown, "right")
    assert not permits(b"Bearer ", ""), "no token permits nobody"
    assert not permits(basic("x:"), "")


def test_a_token_is_made_once_and_for_its_account_alone(tmp_path: Path) -> None:
    token = token_of(tmp_path)
    assert len(token) >= 43
    assert token_of(tmp_path) == token
    assert (tmp_path / TOKEN).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t", b"short"])
def test_a_token_that_is_none_opens_the_page_to_nobody(tmp_path: Path, content: bytes) -> None:
    """A full disk leaves an empty file; the control is a page that wants an empty token."""
    (tmp_path / TOKEN).write_bytes(content)
    assert asked(token="").status_code == 200
    with pytest.raises(StateError, match="holds no token") as refused:
        token_of(tmp_path)
    assert refused.value.reason == "altered"
    (tmp_path / TOKEN).unlink()
    assert len(token_of(tmp_path)) >= 43


def asked(
    method: str = "GET", path: str = "/", *, token: str = "", **headers: str
) -> httpx.Response:
    """Ask a door; an underscore of a header's name is a hyphen."""
    door = PageDoor(
        {"/": Resource("text/html", lambda: b"the page"), "/metrics": Resource("x", lambda: b"1")},
        names=["hub.example", "10.0.0.7"],
        token=token,
    )

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(door)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, path, headers=named)

    return asyncio.run(ask())


def test_what_there_is_is_shown_and_nothing_can_be_changed() -> None:
    assert (asked().status_code, asked().content) == (200, b"the page")
    head = asked("HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert asked(path="/metrics").content == b"1"
    assert asked(path="/nothing").status_code == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        refused = asked(method)
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET, HEAD"


def test_a_site_whose_name_was_made_to_lead_here_sees_nothing() -> None:
    for host in ("evil.example", "evil.example:8444", "127.0.0.1.evil.example", "", "localhost:x"):
        refused = asked(host=host)
        assert refused.status_code == 421, host
        assert b"the page" not in refused.content
    for host in ("localhost", "LOCALHOST:9", "127.0.0.1:8444", "[::1]:8444", "hub.example:8444"):
        assert asked(host=host).status_code == 200, host


@pytest.mark.parametrize("token", ["", "right"])
@pytest.mark.parametrize("path", ["/", "/health", "/nothing"])
def test_no_other_site_may_read_embed_or_frame_any_answer(path: str, token: str) -> None:
    headers = asked(path=path, token=token, origin="https://evil.example").headers
    assert not [name for name in headers if name.startswith("access-control-")]
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script" not in policy


def test_where_a_token_is_wanted_nothing_is_seen_without_it() -> None:
    for path in ("/", "/metrics", "/nothing"):
        refused = asked(path=path, token="right")  # noqa: S106 - of this test
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
        wrong = asked(path=path, token="right", authorization="Bearer wrong")  # noqa: S106
        assert wrong.status_code == 401
        assert b"right" not in refused.content + wrong.content
    shown = asked(token="right", authorization="Bearer right")  # noqa: S106
    assert shown.content == b"the page"
    assert asked(path="/health", token="right").text == PAGE_IS_UP  # noqa: S106


def test_the_losses_of_a_round_that_one_home_answered_are_its_own(tmp_path: Path) -> None:
    events = log_of(
        tmp_path,
        ("round-closed", {"round": 1, **ROW}),
        ("round-closed", {"round": 2, **ROW, "homes_answered": 1, "train_loss": 0.98765}),
        ("round-closed", {"round": 3, **ROW, "homes_answered": 0}),
        ("round-closed", {"round": 3, **ROW, "homes_answered": 2, "train_loss": 0.25}),
    )
    rows, hidden = rounds_of(events)
    assert hidden == 1
    assert [row["round"] for row in rows] == [1, 2, 3]
    assert [[row[name] for name in LOSSES] for row in rows] == [
        [0.5, 0.625, 0.375],
        [None, None, None],
        [0.25, 0.625, 0.375],
    ]
    assert [row["homes_answered"] for row in rows] == [4, 1, 2]
    shown = page_html(content_of(events))
    assert "0.98765" not in shown
    assert "1 round without losses here" in shown


def test_names_that_others_chose_are_text_on_the_page(tmp_path: Path) -> None:
    events = log_of(
        tmp_path,
        ("round-closed", {"round": 1, **ROW}),
        ("reply-dropped", {"round": 1, "home": NASTY, "reason": "<img src=x>"}),
        ("run-started", {"score": NASTY}),
    )
    shown = page_html(content_of(events))
    assert "&lt;script&gt;alert(" in shown
    for tag in ("<script", "<img", "<b>why", "<i>spoils"):
        assert tag not in shown
    for word in ("ash", "4/5", "2/9", "replayed", "clock", "the disk is full", "mend it", "spoils"):
        assert word.replace("4/5", "2/5") in shown


def test_nothing_that_a_log_says_of_a_single_home_but_why_gets_out(tmp_path: Path) -> None:
    own = {"loss": 0.123454321, "score": 0.123454321, "readings": [123454321], "rows": 123454321}
    events = log_of(
        tmp_path,
        ("home-refused", {"home": "ash", "question": "train", "reason": "replayed", **own}),
        ("reply-dropped", {"home": "ash", "round": 1, "reason": "late", **own}),
        ("home-excluded", {"home": "ash", "reason": "its inputs", **own}),
        ("round-closed", {"round": 1, **ROW, "by_home": own}),
        ("scores-counted", {"homes": 1, **own}),
    )
    content = content_of(events)
    page, numbers = page_html(content), metrics_text(content).decode()
    assert "its inputs" in page, "why is told"
    for text in (page, numbers):
        assert "12345432" not in text
    for name in ("ash", "oak", "elm", "script"):
        assert name not in numbers, "no home is named for Prometheus"


def test_the_numbers_are_those_of_the_status_and_the_last_round(tmp_path: Path) -> None:
    events = log_of(
        tmp_path,
        ("round-failed", {"round": 1, "homes": 2, "needed": 3}),
        ("round-closed", {"round": 1, **ROW}),
        ("reply-dropped", {"round": 2, "home": "ash", "reason": "late"}),
        ("privacy-spent", {"round": 1, "epsilon": 0.75}),
        ("round-closed", {"round": 2, **ROW, "validation_loss": None, "train_loss": 0.25}),
    )
    found = samples(
        metrics_text(content_of(events, faults=["the disk is full; make room", "one more"]))
    )
    expected: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
        ("fedhome_up", (("process", "page"),)): 1,
        ("fedhome_up", (("process", "front"),)): 1,
        ("fedhome_faults", ()): 2,
        ("fedhome_homes", ()): 5,
        ("fedhome_homes_connected", ()): 2,
        ("fedhome_homes_left_out", ()): 1,
        ("fedhome_homes_refusing", (("question", "train"), ("reason", "replayed"))): 1,
        ("fedhome_homes_refusing", (("question", "connect"), ("reason", "clock"))): 1,
        ("fedhome_enrolments_waiting", ()): 2,
        ("fedhome_certificate_days_left", ()): 500,
        ("fedhome_directory_days_left", ()): 300,
        ("fedhome_run_state", (("state", "running"),)): 1,
        ("fedhome_run_state", (("state", "failed"),)): 0,
        ("fedhome_run_round", ()): 2,
        ("fedhome_run_failed_rounds", ()): 1,
        ("fedhome_run_dropped_replies", ()): 1,
        ("fedhome_run_privacy_epsilon", ()): 0.75,
        ("fedhome_round_train_loss", ()): 0.25,
        ("fedhome_round_homes", (("did", "answered"),)): 4,
        ("fedhome_round_bytes", (("direction", "down"),)): 3000,
        ("fedhome_round_seconds", (("part", "other"),)): 0.25,
    }
    assert {key: found.get(key) for key in expected} == expected
    names = {name for name, _ in found}
    assert "fedhome_round_validation_loss" not in names, "what was not measured is no zero"
    assert "fedhome_release_number" not in names
    known = {one.name: set(one.labels) for one in METRICS}
    assert all(known[name] == {label for label, _ in labels} for name, labels in found)


def test_a_front_that_does_not_answer_is_told_and_nothing_old_is() -> None:
    content = content_of([], status=None)
    found = samples(metrics_text(content))
    assert found == {
        ("fedhome_up", (("process", "page"),)): 1,
        ("fedhome_up", (("process", "front"),)): 0,
        ("fedhome_up", (("process", "superlink"),)): 0,
    }
    assert "The front does not answer" in page_html(content)


def test_the_documentation_has_every_metric_and_each_alert_is_of_one_that_is() -> None:
    guide = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    rows = [
        f"| `{one.name}` | {', '.join(f'`{label}`' for label in one.labels)} | {one.meaning} |"
        for one in METRICS
    ]
    assert "\n".join(["| metric | labels | what |", "|---|---|---|", *rows, ""]) in guide
    groups = yaml.safe_load((ROOT / "docs" / "alerts.yml").read_text("utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 10
    labels = {one.name: set(one.labels) for one in METRICS}
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["annotations"]["summary"]
        for name, selected in re.findall(r"(fedhome_\w+)(?:\{([^}]*)\})?", rule["expr"]):
            assert set(re.findall(r"(\w+)=", selected)) <= labels[name]
        shown = re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))
        used = [labels[name] for name in re.findall(r"fedhome_\w+", rule["expr"])]
        assert {*shown} - {"instance"} <= set().union(*used)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet") / "owner"
    with Fleet.create(folder, "a passphrase that is long enough"):
        pass
    return folder


@pytest.fixture
def place(fleet: Path, tmp_path: Path) -> ServerFolder:
    names = ["hub.example", "127.0.0.1"]
    return make_server(tmp_path / "hub", hosts=names, port=1, listen="127.0.0.1", fleet=fleet)


def set_page(place: ServerFolder, page: str) -> PageAddress:
    write_settings(place.path / "server.toml", replace(place.settings, page=page))
    address = page_address(page)
    assert address is not None
    return address


@contextmanager
def served(place: ServerFolder, host: str) -> Iterator[int]:
    """Serve a folder's page; yields its port."""
    port = free_port()
    server = page_process.serve_page(place, set_page(place, f"{host}:{port}"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield port
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


@pytest.mark.long
def test_on_loopback_it_is_seen_and_known_to_be_up(place: ServerFolder) -> None:
    with served(place, "127.0.0.1") as port:
        shown = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
        assert shown.status_code == 200
        assert "The front does not answer" in shown.text
        with Health(place) as health:
            assert health.page()
        assert not (place.path / TOKEN).exists()
    with Health(place) as health:
        assert not health.page()


@pytest.mark.long
def test_off_loopback_it_has_tls_and_wants_its_token(place: ServerFolder) -> None:
    with served(place, "0.0.0.0") as port:  # noqa: S104 - that is what this is about
        trusted = ssl.create_default_context(cafile=place.tls / tls.CA)
        with httpx.Client(verify=trusted, trust_env=False) as client:
            url = f"https://127.0.0.1:{port}/metrics"
            assert client.get(url).status_code == 401
            shown = client.get(url, auth=("anybody", token_of(place.path)))
            assert samples(shown.content)["fedhome_up", (("process", "page"),)] == 1
            with Health(place) as health:
                assert health.page()
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)


def test_what_was_read_holds_for_a_moment_and_what_is_damaged_is_told(place: ServerFolder) -> None:
    now = 0.0
    reader = PageReader(place, lambda: now)
    first = reader.read()
    assert first.status is None
    (place.path / "models").mkdir()
    (place.path / "models" / "registry.fh").write_bytes(b"nonsense")
    assert reader.read() is first
    now = 3.0
    (fault,) = reader.read().faults
    assert "registry.fh" in fault
    assert fault in html.unescape(page_html(reader.read()))


def test_a_port_that_is_taken_is_noticed(place: ServerFolder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = set_page(place, f"127.0.0.1:{taken.getsockname()[1]}")
        assert "in use" in page_process._taken(address)
    assert page_process._taken(address) == ""


@pytest.mark.long
def test_its_process_loads_neither_torch_nor_flower() -> None:
    program = (
        "import sys, fedhome.server.page.page_process\n"
        "print([one for one in ('torch', 'flwr', 'sklearn') if one in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout.strip() == "[]"
