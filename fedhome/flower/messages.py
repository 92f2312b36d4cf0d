"""What our messages hold, and the non-public names of Flower that the other packages need."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Error,
    Message,
    Metadata,
    MetricRecord,
    RecordDict,
)
from flwr.common.constant import ErrorCode
from flwr.serverapp import strategy as flower_strategies
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords
from flwr.supercore.date import now
from flwr.supercore.run import Run as _Run
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from fedhome.errors import PluginError, UpdateError
from fedhome.reasons import in_words, listed
from fedhome.wire import names
from fedhome.wire.layout import Layout

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy

EXAMPLES = names.EXAMPLES
ARRAYS, CONFIG, METRICS, SUM = "arrays", "config", "metrics", "sum"
_IN_ONE_PIECE = 4 << 20  # bytes of a reply; more go as arrays, which Flower sends in pieces
SERVER_NODE = 1
APP_RAISED = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
AWAY = ErrorCode.NODE_UNAVAILABLE  # the code for a node that is not there
LOST = ErrorCode.MESSAGE_UNAVAILABLE  # for a reply whose content did not arrive
Run: TypeAlias = _Run

_FedAvg = flower_strategies.FedAvg
_ON_SUMS: tuple[type[Strategy], ...] = (
    flower_strategies.FedAvg,
    flower_strategies.FedAvgM,
    flower_strategies.FedProx,
    flower_strategies.FedAdagrad,
    flower_strategies.FedAdam,
    flower_strategies.FedYogi,
)


class LazyArray(Array):
    """An array that is serialised only if somebody asks for its bytes; never sent over a wire."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.__dict__.update(
            {
                "dtype": str(values.dtype),
                "shape": tuple(values.shape),
                "stype": "numpy.ndarray",
                "_values": values,
            }
        )

    def __getattr__(self, name: str) -> Any:
        if name == "data":
            data = Array.from_numpy_ndarray(self.__dict__["_values"]).data
            self.__dict__["data"] = data
            return data
        raise AttributeError(name)

    def numpy(self) -> NDArray[Any]:
        """Return the values, as a copy that the caller may write to."""
        return np.array(self.__dict__["_values"])

    def looked_at(self) -> NDArray[Any]:
        """Return the values themselves, to be read."""
        values: NDArray[Any] = self.__dict__["_values"].view()
        values.flags.writeable = False
        return values


def words_reply(message: Message, words: NDArray[Any]) -> Message:
    """Answer a message with a sum's words, in this process alone."""
    record = ArrayRecord()
    record["words"] = LazyArray(words)
    return Message(RecordDict({ARRAYS: record}), reply_to=message)


def words_of(message: Message) -> NDArray[Any]:
    """Return the words of such a reply.

    Raises:
        UpdateError: It holds none.
    """
    record = message.content.get(ARRAYS)
    if not isinstance(record, ArrayRecord) or list(record) != ["words"]:
        raise UpdateError("a reply came without its words")
    return record["words"].numpy()


def array_record(layout: Layout, flat: NDArray[np.float32], *, lazy: bool = False) -> ArrayRecord:
    """Return one flat array as a record; its key says its layout."""
    record = ArrayRecord()
    record[layout.key] = LazyArray(flat) if lazy else Array(np.ascontiguousarray(flat))
    return record


def read_flat(layout: Layout, record: ArrayRecord, *, cast: bool = False) -> NDArray[np.float32]:
    """Return the flat array of a record.

    Args:
        layout: The layout that it must have.
        record: The record.
        cast: Take numbers of another type too, as float32: some strategies compute in float64.

    Raises:
        LayoutError: It is of another layout.
        UpdateError: Its numbers cannot be read, are not float32, or not finite.
    """
    arrays = [values_of(array) for array in record.values()]
    flat = arrays[0] if len(arrays) == 1 else np.zeros(0, np.float32)
    if cast:
        with np.errstate(over="ignore"):  # what overflows is refused as not finite
            flat = flat.astype(np.float32, copy=False)
    layout.check(list(record), flat)
    return flat


def values_of(array: Array) -> NDArray[np.float32]:
    """Return the numbers of an array that came from elsewhere, of whatever shape and type.

    Raises:
        UpdateError: They cannot be read.
    """
    if isinstance(array, LazyArray):  # it never left this process
        return array.looked_at()
    try:
        values = array.numpy()
    except Exception as error:  # noqa: BLE001 - a stranger's bytes may raise anything
        raise UpdateError(
            f"an array came whose numbers cannot be read: {type(error).__name__}",
            hint="homes and server must run the same version of fedhome",
        ) from None
    if not isinstance(values, np.ndarray):  # numpy opens whole archives too
        raise UpdateError(f"an array came that is of type {type(values).__name__}")
    return values


def content_of(message: Message) -> tuple[ArrayRecord, ConfigRecord]:
    """Return the arrays and the settings of a message from the server, whatever their keys."""
    arrays = [r for r in message.content.values() if isinstance(r, ArrayRecord)]
    configs = [
        r for name, r in message.content.items() if isinstance(r, ConfigRecord) and name != SUM
    ]
    return (
        arrays[0] if arrays else ArrayRecord(),
        configs[0] if configs else ConfigRecord(),
    )


def reply(
    message: Message,
    metrics: Mapping[str, float | int | list[float]],
    arrays: ArrayRecord | None = None,
) -> Message:
    """Answer a message with metrics, and with arrays after training."""
    content = RecordDict({METRICS: MetricRecord(dict(metrics))})
    if arrays is not None:
        content[ARRAYS] = arrays
    return Message(content, reply_to=message)


def with_sum_record(content: RecordDict, values: Mapping[str, int | str | bytes]) -> RecordDict:
    """Return a message's content with a record for a sum beside it; the content is not copied."""
    return RecordDict({**content, SUM: ConfigRecord(dict(values))})


def config_content(values: Mapping[str, int | str | bytes]) -> RecordDict:
    """Return a message's content that holds settings alone."""
    return RecordDict({CONFIG: ConfigRecord(dict(values))})


def sum_record(message: Message) -> ConfigRecord | None:
    """Return a message's record for a sum; None where it asks for no sum."""
    record = message.content.get(SUM)
    return record if isinstance(record, ConfigRecord) else None


def blob_reply(message: Message, blobs: Mapping[str, bytes]) -> Message:
    """Answer a message with bytes by name; they travel as they are.

    Over a network, Flower asks for each of its objects by itself: bytes that are settings come in
    three requests, bytes that are arrays in seven, but cut into pieces where they are many.
    """
    if goes_in_one_piece(blobs):
        return Message(RecordDict({CONFIG: ConfigRecord(dict(blobs))}), reply_to=message)
    record = ArrayRecord()
    for name, data in blobs.items():
        record[name] = Array("uint8", (len(data),), "fedhome.bytes", data)
    return Message(RecordDict({ARRAYS: record}), reply_to=message)


def goes_in_one_piece(blobs: Mapping[str, bytes]) -> bool:
    """Return whether bytes travel as settings: not where they are many."""
    return sum(map(len, blobs.values())) <= _IN_ONE_PIECE


def blobs_of(message: Message) -> dict[str, bytes]:
    """Return the bytes by name of a reply.

    Raises:
        UpdateError: It is an error, or holds something else.
    """
    if message.has_error():
        raise UpdateError(error_of(message))
    settings, arrays = message.content.get(CONFIG), message.content.get(ARRAYS)
    if isinstance(arrays, ArrayRecord):
        return {name: bytes(array.data) for name, array in arrays.items()}
    if not isinstance(settings, ConfigRecord):
        raise UpdateError("a reply came without its bytes")
    return {name: data for name, data in settings.items() if isinstance(data, bytes)}


def error_of(message: Message) -> str:
    """Return what an error reply says, where it is one of our words with what that means."""
    return in_words(message.error.reason or f"error {message.error.code}")


def hold_to_words(reply: Message) -> str:
    """Let a home's error reply say one of our words and nothing else, and return it."""
    word = listed(reply.error.reason or "")
    reply.error = Error(reply.error.code, word)
    return word


def failure(message: Message, reason: str, code: int = APP_RAISED) -> Message:
    """Answer a message with an error."""
    return Message(Error(code, reason), reply_to=message)


def take_identity(run_id: int) -> None:
    """Let this process create messages as the server of a run."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = SERVER_NODE
    TaskIdentity.task_id = run_id


def empty_run(run_id: int) -> Run:
    """Return Flower's description of a run that only we know of."""
    return _Run.create_empty(run_id)


def broadcast_messages(
    record: RecordDict, node_ids: Sequence[int], message_type: str
) -> list[Message]:
    """Return messages to several nodes that differ in their receiver alone."""
    if not node_ids:
        return []
    first = Message(content=record, message_type=message_type, dst_node_id=node_ids[0])
    return copies_for(first, node_ids)


def messages_to(
    node_ids: Sequence[int], contents: Sequence[RecordDict], message_type: str
) -> list[Message]:
    """Return messages to several nodes, of one moment, each with its own content."""
    messages = broadcast_messages(contents[0], node_ids, message_type) if contents else []
    for message, content in zip(messages, contents, strict=True):
        vars(message)["_content"] = content
    return messages


def copies_for(first: Message, node_ids: Sequence[int]) -> list[Message]:
    """Return a message to the first of some nodes, and copies of it to the others."""
    messages = [first]
    for node in node_ids[1:]:
        message, metadata = Message.__new__(Message), Metadata.__new__(Metadata)
        vars(metadata).update(vars(first.metadata), _dst_node_id=node)
        vars(message).update(vars(first), _metadata=metadata)
        messages.append(message)
    return messages


def number_messages(messages: Iterable[Message], first: int) -> None:
    """Number messages as Flower's link would: each one's identifier is its number."""
    for index, message in enumerate(messages):
        identify(message, f"{first + index}")


def identify(message: Message, name: str) -> None:
    """Give a message its identifier, which Flower lets nobody set."""
    message.metadata.__dict__["_message_id"] = name


def redate(answer: Message, question: Message) -> None:
    """Let a reply be made now: when it was, and how long it holds from then, would tell more."""
    made, asked = now().timestamp(), question.metadata
    answer.metadata.created_at, answer.metadata.ttl = made, asked.created_at + asked.ttl - made


def reattribute(message: Message, *, node: int, reply_to: str) -> None:
    """Let a reply be another node's, and answer another message."""
    message.metadata.__dict__.update(_src_node_id=node, _reply_to_message_id=reply_to)


def sums_suffice(strategy: Strategy) -> bool:
    """Return whether a strategy gives the same result from exact means of groups of homes.

    A strategy may declare it with an attribute ``works_on_sums``. Of Flower's own, it holds for
    those that average replies by their numbers of examples and use single ones for nothing else.

    Raises:
        PluginError: The strategy was made without its class's ``__init__``.
    """
    declared = getattr(strategy, "works_on_sums", None)
    if declared is not None:
        return bool(declared)
    if isinstance(strategy, flower_strategies.DifferentialPrivacyClientSideFixedClipping):
        return strategy.accountant is None and sums_suffice(strategy.strategy)
    if not isinstance(strategy, _FedAvg):
        return False
    if not hasattr(strategy, "train_metrics_aggr_fn"):
        raise PluginError(
            f"the strategy {type(strategy).__name__} lacks what its class's __init__ sets",
            hint="let its own __init__ call super().__init__(), with what it was given",
        )
    own = (strategy.train_metrics_aggr_fn, strategy.evaluate_metrics_aggr_fn)
    if any(function is not aggregate_metricrecords for function in own):
        return False
    if strategy.weighted_by_key != EXAMPLES:
        return False
    return type(strategy) in _ON_SUMS or (type(strategy).aggregate_train is _FedAvg.aggregate_train)


def quiet() -> None:
    """Let Flower log warnings only, and nothing that we report ourselves."""
    logger = logging.getLogger("flwr")
    logger.setLevel(logging.WARNING)
    logger.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(
        "FedProx initialized with"
    )  # `fedhome.learning.plan_notes` does it
