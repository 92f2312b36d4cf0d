"""What leaves a home in the clear: each kind of request with its fields, and why homes refuse.

Our own messages say themselves what their fields are (:mod:`.fields`); Flower's are in
:mod:`fedhome.flower.sent_fields`, and what answers hold is in the tables of questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fedhome.clients.outgoing.fields import fields_of, signed_fields
from fedhome.clients.protocol_questions import PROTOCOL
from fedhome.fleet.claims import Claim
from fedhome.fleet.front_requests import ENROL, JOIN, LEAVE, RELEASE
from fedhome.fleet.invites import EnrolmentBody, Ticket
from fedhome.fleet.leave_notice import Leave
from fedhome.fleet.release_request import Fetch
from fedhome.flower import sent_fields
from fedhome.plan.settings import Plan
from fedhome.questions.question_table import SUMMED
from fedhome.secagg.bundle import Bundle
from fedhome.secagg.home_entry import HomeEntry
from fedhome.secagg.share_checks import CheckAnswer, ShownKey
from fedhome.secagg.share_keys import ShareKey
from fedhome.secagg.sum_messages import Answer, Upload, Vote
from fedhome.wire.exchange import ANSWER, LOOK, ExchangeAnswer, MessageRequest
from fedhome.wire.names import BUNDLE, HELP

HEADERS = "the head of each request"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One kind of thing that leaves a home in the clear.

    Args:
        name: The path that it is posted to; or of what question it is the answer.
        when: When it is sent.
        fields: What each field is, by name; a ``*`` stands for any part of a name.
    """

    name: str
    when: str
    fields: Mapping[str, str]


def requests() -> Iterator[Record]:
    """Yield what every home of a fleet sends besides its answers, whatever its plan."""
    yield Record(name=HEADERS, when="with each", fields=sent_fields.HEADERS)
    enrolment = {
        **signed_fields(Ticket, "ticket."),
        **signed_fields(HomeEntry, "entry."),
        "time": fields_of(EnrolmentBody)["time"],
        "signature": "the signature of all this, by the invite's one-time key",
    }
    yield Record(name=ENROL, when="once, when people agreed to join", fields=enrolment)
    yield Record(name=JOIN, when="whenever it connects", fields=signed_fields(Claim))
    yield Record(
        name=RELEASE, when="every five minutes, and after answers", fields=signed_fields(Fetch)
    )
    yield Record(name=LEAVE, when="once, if it leaves the fleet", fields=signed_fields(Leave))
    for path, (when, fields) in sent_fields.REQUESTS.items():
        yield Record(name=path, when=when, fields=fields)
    look = fields_of(MessageRequest)
    look |= sent_fields.LOOK
    del look["pull"]  # its own fields are there
    yield Record(name=LOOK, when="while it waits, every 20 s at least", fields=look)
    answer = fields_of(ExchangeAnswer)
    answer |= sent_fields.ANSWER
    del answer["push"]
    answer["objects"] = "the pieces themselves: the answer's content (below)"
    yield Record(name=ANSWER, when="with each answer", fields=answer)


def answers(plan: Plan) -> Iterator[Record]:
    """Yield what the answers of a plan's home hold, by question."""
    plain = plan.aggregation.mode == "plain"
    for name, question in PROTOCOL.items():
        if question.asker == "server":
            fields = _PROTOCOL.get(name, question.clear)
            yield Record(name=name, when=question.consent.when, fields=fields)
    if not plain:
        yield Record(name="a sum", when="for each question that sums", fields=_UPLOAD)
        return
    for name, row in SUMMED.items():
        if row.in_the_clear and row.times(plan):
            yield Record(name=name, when=row.consent.when, fields=row.clear)


_PROTOCOL: Mapping[str, Mapping[str, str]] = {
    BUNDLE: fields_of(Bundle, "bundle."),
    HELP: {
        **fields_of(ShareKey, "share-key."),
        **fields_of(CheckAnswer, "checked."),
        **fields_of(ShownKey, "shown-key."),
        **fields_of(Vote, "answer."),
        **fields_of(Answer, "answer."),
    },
}
_UPLOAD = {
    **fields_of(Upload, "upload."),
    "upload.vector": "the numbers of the sum (above), each under masks",
    **_PROTOCOL[BUNDLE],
}
