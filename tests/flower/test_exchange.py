"""A home's exchange with a real SuperLink behind a real front: one question, one answer."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.proto.fleet_pb2 import DeactivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from google.protobuf.wrappers_pb2 import BytesValue

from fedhome.errors import LinkError
from fedhome.flower.fleet_connection import Arrival
from fedhome.flower.messages import SERVER_NODE
from fedhome.flower.node_key import NodeKey
from fedhome.flower.superlink import LINK
from fedhome.ops import local_socket
from fedhome.ops.processes import Processes
from fedhome.ops.tls import CA
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import HOST, prepare, start
from fedhome.wire.exchange import (
    ANSWER,
    CHANGES,
    LOOK,
    MOST_AT_ONCE,
    MOST_OBJECTS,
    ExchangeAnswer,
    MessageRequest,
)
from helpers.exchange_fleet import SOON_S, Fleet, claimed, exchange_fleet, numbers, words
from helpers.living import tiny_plan

# Flower's own, when it makes a bundle.
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with exchange_fleet(tmp_path_factory.mktemp("exchange")) as fleet:
        yield fleet


@pytest.fixture
def later() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def no_more(*_: object, **__: object) -> None:
    raise AssertionError("another request")


def waiting(fleet: Fleet, looking: Future[Arrival | None]) -> None:
    """Wait a moment, in which a question that is to wait does not end."""
    assert not looking.done(), looking.result()
    fleet.grid.wait(0.0)  # what was sent before ends no moment
    fleet.grid.wait(0.3)
    assert not looking.done(), looking.result()


@pytest.mark.parametrize("first", ["the home", "the run"])
def test_a_question_and_its_answer_take_one_request_each(
    fleet: Fleet, later: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    with fleet.home(0) as home:
        for name in ("PullObject", "PushObject", "GetRun", "ConfirmMessageReceived"):
            monkeypatch.setattr(home._client, name, no_more)
        if first == "the home":
            looking = later.submit(home.look)
            waiting(fleet, looking)
        name = fleet.ask(0, words(5))
        if first == "the run":
            looking = later.submit(home.look)
        arrival = looking.result(SOON_S)
        assert arrival is not None
        run = arrival.message.metadata.run_id
        assert home.app_of(run).name == "fedhome/fedhome"
        message = home.fetch(arrival)
        assert message.content["told"]["number"] == 5
        sending = home.announce(Message(words(6), reply_to=message))
        assert sending.missing == {}
        home.push(sending)
    assert fleet.answer_to(name).content["told"]["number"] == 6


def test_what_is_large_goes_object_by_object(fleet: Fleet) -> None:
    size = 30 << 20  # more than goes at once; Flower cuts it after 20 MB
    with fleet.home(1) as home:
        name = fleet.ask(1, numbers(size, 1))
        arrival = home.look()
        assert arrival is not None
        assert 0 < sum(map(len, arrival.objects.values())) <= MOST_AT_ONCE
        message = home.fetch(arrival)
        assert message.content == numbers(size, 1)
        sending = home.announce(Message(numbers(size, 2), reply_to=message))
        assert sum(map(len, sending.missing.values())) > size - MOST_AT_ONCE
        home.push(sending)
        assert not sending.missing
    answer = fleet.answer_to(name)
    assert answer.content == numbers(size, 2)


@pytest.mark.slow
def test_many_objects_and_one_large_one_get_through(fleet: Fleet) -> None:
    many = MOST_OBJECTS // 2 + 5  # arrays, of two objects each
    arrays = [np.full(2, number, np.float32) for number in range(many)]
    content = RecordDict(
        {"arrays": ArrayRecord(arrays), "told": ConfigRecord({"a": bytes(9 << 20)})}
    )
    with fleet.home(1) as home:
        name = fleet.ask(1, content)
        arrival = home.look()
        assert arrival is not None
        assert len(arrival.objects) == MOST_OBJECTS
        message = home.fetch(arrival)
        assert message.content == content
        sending = home.announce(Message(content, reply_to=message))
        home.push(sending)
    assert fleet.answer_to(name).content == content


def test_a_reply_counts_once_however_often_it_is_sent(fleet: Fleet) -> None:
    with fleet.home(0) as home:
        name = fleet.ask(0, words(1))
        arrival = home.look()
        assert arrival is not None
        answer = Message(words(2), reply_to=home.fetch(arrival))
        for _ in range(3):
            home.push(home.announce(answer))
        assert fleet.answer_to(name).content["told"]["number"] == 2
        with contextlib.suppress(LinkError):
            home.push(home.announce(answer))
    assert not any(answer.has_content() for answer in fleet.grid.pull_messages([name]))


def test_a_message_waits_for_who_asks_last(fleet: Fleet, later: ThreadPoolExecutor) -> None:
    with fleet.home(0) as broken, fleet.home(0) as home:
        first = later.submit(broken.look)
        waiting(fleet, first)
        second = later.submit(home.look)
        assert first.result(SOON_S) is None
        name = fleet.ask(0, words(3))
        arrival = second.result(SOON_S)
        assert arrival is not None
        home.push(home.announce(Message(words(4), reply_to=home.fetch(arrival))))
    assert fleet.answer_to(name).content["told"]["number"] == 4


def test_nobody_waits_for_a_home_that_goes_away(fleet: Fleet, later: ThreadPoolExecutor) -> None:
    with fleet.home(0) as home:
        looking = later.submit(home.look)
        waiting(fleet, looking)
        home.leave()
        assert looking.result(SOON_S) is None


def posted(fleet: Fleet, path: str, data: bytes, *, link: bool = False) -> httpx.Response:
    """Post what carries no signature, to the front or to the SuperLink itself."""
    context = ssl.create_default_context(cafile=fleet.server.tls / CA)
    where = LINK if link else f"https://{HOST}:{fleet.server.settings.port}"
    socket = httpx.HTTPTransport(uds=local_socket.address(fleet.server.link))
    with httpx.Client(verify=context, transport=socket if link else None) as client:
        return client.post(
            where + path, content=data, headers={"content-type": "application/protobuf"}
        )


def test_who_does_not_sign_gets_nothing(fleet: Fleet) -> None:
    look = MessageRequest(pull=PullMessagesRequest().SerializeToString(), run=0, wait_ms=0)
    push = PushMessagesRequest().SerializeToString()
    answer = ExchangeAnswer(push=push, names=(), objects=())
    for path, told in ((LOOK, look), (ANSWER, answer)):
        body = BytesValue(value=told.to_bytes()).SerializeToString()
        assert posted(fleet, path, body).status_code == 401
        assert posted(fleet, path, body, link=True).status_code == 401
        for nonsense in (
            b"",
            b"nonsense",
            body[:-1],
            BytesValue(value=b"\x93").SerializeToString(),
        ):
            assert posted(fleet, path, nonsense).status_code == 401  # the front reads none of it
            assert posted(fleet, path, nonsense, link=True).status_code == 400
    assert posted(fleet, CHANGES, b"").status_code == 404
    assert posted(fleet, CHANGES, b"", link=True).status_code == 400


def test_what_strangers_send_has_no_effect(fleet: Fleet, later: ThreadPoolExecutor) -> None:
    leave = DeactivateNodeRequest(node_id=fleet.nodes[0]).SerializeToString()
    with fleet.home(0) as home:
        looking = later.submit(home.look)
        waiting(fleet, looking)
        heard = fleet.grid._change_count
        for link in (False, True):
            gone = posted(fleet, "/v1/fleet/deactivate-node", leave, link=link)
            assert gone.status_code == 401
        assert posted(fleet, "/v1/fleet/push-messages", b"nonsense").status_code == 401
        nonsense = posted(fleet, "/v1/fleet/push-messages", b"nonsense", link=True)
        assert nonsense.status_code == 400
        waiting(fleet, looking)
        assert fleet.grid._change_count == heard
        home.leave()
        assert looking.result(SOON_S) is None


@pytest.mark.parametrize("way", ["exchange", "flower"])
@pytest.mark.parametrize("forged", ["another home", "the server", "no reply"])
def test_a_home_speaks_for_itself_alone(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, way: str, forged: str
) -> None:
    with fleet.home(1) as victim, fleet.home(2) as home:
        name = fleet.ask(1, words(1))
        arrival = victim.look()
        assert arrival is not None
        message = Message(words(2), reply_to=victim.fetch(arrival))
        honest = Message(words(3), reply_to=victim.fetch(arrival))
        data = message.metadata.__dict__
        if forged == "the server":
            data["_src_node_id"], data["_dst_node_id"] = SERVER_NODE, fleet.nodes[0]
        if forged != "another home":
            data["_reply_to_message_id"] = ""
        if way == "flower":

            def plainly(_: str, body: bytes) -> bytes:
                push = PushMessagesRequest.FromString(ExchangeAnswer.from_bytes(body).push)
                home._client.PushMessages(push)
                raise AssertionError("it was taken")

            monkeypatch.setattr(home._client, "exchange", plainly)
        with pytest.raises(LinkError) as refused:
            home.announce(message)
        assert refused.value.reason == "refused"
        victim.push(victim.announce(honest))
    assert fleet.answer_to(name).content["told"]["number"] == 3


def test_a_home_neither_asks_nor_answers_as_another(fleet: Fleet) -> None:
    with fleet.home(2) as home:
        name = fleet.ask(2, words(1))
        arrival = home.look()
        assert arrival is not None
        answer = Message(words(2), reply_to=home.fetch(arrival))
        for key in (fleet.places[0].node_key(), NodeKey.create()):
            other = fleet.connect(2, key=key)
            other._node = home._node
            for ask in (other.look, lambda other=other: other.announce(answer)):
                with pytest.raises(LinkError) as refused:
                    ask()
                assert refused.value.reason == "refused"
            other.close()
        home.push(home.announce(answer))
    assert fleet.answer_to(name).content["told"]["number"] == 2


def test_a_run_hears_of_answers_and_of_nothing_else(
    fleet: Fleet, later: ThreadPoolExecutor
) -> None:
    fleet.grid.wait(0.0)
    heard = later.submit(fleet.grid.wait, SOON_S)
    with fleet.home(0) as home:
        name = fleet.ask(0, words(1))
        arrival = home.look()
        assert arrival is not None
        assert not heard.done()
        home.push(home.announce(Message(words(2), reply_to=home.fetch(arrival))))
        assert heard.result(SOON_S / 2) is None
    assert fleet.answer_to(name).has_content()


@pytest.mark.slow
def test_a_server_that_ends_lets_its_homes_go(tmp_path: Path) -> None:
    plan = tiny_plan(3, 1, min_cohort=3)
    tables = generate(homes=3, days=plan.data.days, seed=plan.seed)
    place, homes = prepare(tmp_path, plan, tables)
    with Processes() as processes, ThreadPoolExecutor(3) as pool:
        start(processes, place, [])
        fleet = Fleet(place, homes, [claimed(home) for home in homes], None)  # type: ignore[arg-type]
        with fleet.home(0) as first, fleet.home(1) as second:
            looking = [pool.submit(home.look) for home in (first, second)]
            waits = "the homes wait"
            processes.until(lambda: len(pool._threads) == 2, what=waits, timeout_s=SOON_S)
            second.beat()  # and have been heard
            for name in ("link", "front"):
                processes.children[name].stop()
                process = processes.children[name].process
                assert process is not None
                process.wait(SOON_S)
            for one in looking:
                with contextlib.suppress(LinkError):
                    assert one.result(SOON_S) is None
    for name in ("link", "front"):
        assert "Traceback" not in (place.logs / f"{name}.log").read_text()
