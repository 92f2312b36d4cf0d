"""Replies of many homes to one question, made and read at a fraction of what Flower takes.

Flower checks every key and value of every record when it is made, and again whenever somebody
looks at ``content.array_records``. Of a thousand homes' replies that is three times as long as it
takes to train a small network. So the first reply is made by Flower, with all of its checks;
others that differ from it in their numbers alone are copies with these put in. What a strategy
sees is the same: the same classes, the same views.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    Metadata,
    MetricRecord,
    RecordDict,
)

from fedhome.flower.broadcast import Broadcast
from fedhome.flower.messages import (
    ARRAYS,
    CONFIG,
    METRICS,
    SUM,
    blob_reply,
    goes_in_one_piece,
    reply,
    with_sum_record,
)

Metrics = Mapping[str, float | int | list[float]]
_Record = TypeVar("_Record", ArrayRecord, MetricRecord, ConfigRecord)
_VIEW: type[Any] = type(RecordDict().array_records)
_CHECKS = {
    kind: getattr(RecordDict(), view).check_value
    for kind, view in (
        (ArrayRecord, "array_records"),
        (MetricRecord, "metric_records"),
        (ConfigRecord, "config_records"),
    )
}
_same_of = itemgetter("_group_id", "_message_type", "_src_node_id", "_created_at", "_ttl")


class CheckedContent(RecordDict):
    """Records that were checked when they were made: looking at them checks nothing again."""

    @property
    def array_records(self) -> Any:
        """The records of arrays; what is set or deleted there is set or deleted here too."""
        return self._view(ArrayRecord)

    @property
    def metric_records(self) -> Any:
        """The records of metrics, likewise."""
        return self._view(MetricRecord)

    @property
    def config_records(self) -> Any:
        """The records of settings, likewise."""
        return self._view(ConfigRecord)

    def _view(self, kind: type[_Record]) -> Any:
        view: Any = object.__new__(_VIEW)
        records = vars(self)["_data"]
        vars(view).update(
            _check_key_fn=vars(self)["_check_key_fn"],
            _check_value_fn=_CHECKS[kind],  # a method of the view would make a cycle, kept for long
            _data={name: one for name, one in records.items() if isinstance(one, kind)},
            recorddict=self,
            allowed_type=kind,
        )
        return view


def replies(
    messages: Sequence[Message],
    metrics: Sequence[Metrics],
    arrays: Sequence[Array] | None,
    key: str,
) -> list[Message]:
    """Answer messages that ask the same, each with metrics, and with an array after training.

    Args:
        messages: The questions, at least one.
        metrics: What each answer says.
        arrays: What each home learnt, as one array; None where nothing was trained.
        key: The array's key.
    """
    made: list[Message] = []
    for index, (message, values) in enumerate(zip(messages, metrics, strict=True)):
        array = None if arrays is None else arrays[index]
        alike = isinstance(messages, Broadcast) or _alike(messages[0], message)
        if made and alike and _same_kinds(metrics[0], values):
            made.append(_copied(made[0], message, values, array, key))
        else:
            made.append(_made(message, values, array, key))
    return made


class BlobReplies:
    """Answers messages with bytes by name: with what :func:`.blob_reply` gives of each.

    The first answer is made by Flower; others to messages of the same moment, with bytes of the
    same names, are copies with their own bytes put in.
    """

    def __init__(self) -> None:
        self._first: tuple[Message, Message] | None = None

    def reply(self, message: Message, blobs: Mapping[str, bytes]) -> Message:
        """Answer a message.

        Args:
            message: The question.
            blobs: As of `blob_reply`.
        """
        if self._first is None:
            self._first = message, blob_reply(message, blobs)
            return self._first[1]
        asked, first = self._first
        known = first.content.get(CONFIG)
        if (
            isinstance(known, ConfigRecord)
            and known.keys() == blobs.keys()
            and goes_in_one_piece(blobs)
            and _alike(asked, message)
        ):
            content = _like(first.content, {CONFIG: _like(known, dict(blobs))})
            return _answered(first, message, content)
        return blob_reply(message, blobs)


def _made(message: Message, values: Metrics, array: Array | None, key: str) -> Message:
    """Answer with all of Flower's checks."""
    record = None
    if array is not None:
        record = ArrayRecord()
        record[key] = array
    answer = reply(message, values, record)
    answer.content = CheckedContent(dict(answer.content))
    return answer


def contents_asking(records: Sequence[Mapping[str, bytes]]) -> list[RecordDict]:
    """Return contents of questions that are bytes by name: as of :func:`.with_sum_record`.

    The first one is made by Flower; others with bytes of the same names are copies with their own
    put in. What is the same record is the same content, which travels once.

    Args:
        records: What is asked in each question; all are held, so that none has another's place.
    """
    made: dict[int, RecordDict] = {}
    contents: list[RecordDict] = []
    for record in records:
        content = made.get(id(record))
        if content is None:
            content = made[id(record)] = _asking(dict(record), contents[0] if contents else None)
        contents.append(content)
    return contents


def _asking(record: dict[str, bytes], first: RecordDict | None) -> RecordDict:
    if first is not None and first[SUM].keys() == record.keys() and _all_bytes(record.values()):
        content: RecordDict = _like(first, {**first, SUM: _like(first[SUM], record)})
        return content
    return with_sum_record(RecordDict({CONFIG: ConfigRecord()}), record)


def _all_bytes(values: Iterable[object]) -> bool:
    return all(type(value) is bytes for value in values)


def _alike(first: Message, other: Message) -> bool:
    return bool(_same_of(vars(first.metadata)) == _same_of(vars(other.metadata)))


def _same_kinds(first: Metrics, other: Metrics) -> bool:
    """Tell whether values have the names and types of others that Flower has checked."""
    return first.keys() == other.keys() and all(
        type(value) is type(first[name]) and not isinstance(value, list)
        for name, value in other.items()
    )


def _copied(
    first: Message, message: Message, values: Metrics, array: Array | None, key: str
) -> Message:
    content = _like(first.content, {METRICS: _like(first.content[METRICS], dict(values))})
    if array is not None:
        vars(content)["_data"][ARRAYS] = _like(first.content[ARRAYS], {key: array})
    return _answered(first, message, content)


def _answered(first: Message, message: Message, content: RecordDict) -> Message:
    """Return an answer to a message that is like the first one, but for its content."""
    answer, metadata = Message.__new__(Message), Metadata.__new__(Metadata)
    asked = message.metadata
    vars(metadata).update(
        vars(first.metadata),
        _src_node_id=asked.dst_node_id,
        _reply_to_message_id=asked.message_id,
    )
    vars(answer).update(vars(first), _metadata=metadata, _content=content)
    return answer


def _like(record: Any, data: dict[str, Any]) -> Any:
    """Return a record with other numbers of the same names and types."""
    made = record.__class__.__new__(record.__class__)
    vars(made).update(vars(record), _data=data)
    return made
