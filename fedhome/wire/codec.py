"""Messages as bytes: every message has one form, and bytes in any other form are refused.

A message is a msgpack array ``[label, version, field, ...]`` of numbers, strings, bytes and
arrays of these. It is read back only if writing it again gives the very same bytes, so two
parties can never hold one message in two forms that hash differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Self, TypeGuard, get_type_hints

import msgpack

from fedhome.errors import WireError

_VERSION = 1
_MOST_ENTRIES = 100_000  # of the longest list: the homes of a directory
_MOST_NUMBER = (1 << 63) - 1
_BUFFER_BYTES = 1 << 10  # grows where it is too small
_LONG, _LONG_BYTES = 1 << 16, b"\xc6"  # from here on msgpack has four bytes for a length
_ID_BYTES = 255  # as long as the name of a file


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Kind:
    """What a field may hold.

    Args:
        check: Returns the value that a plain one stands for, or raises `WireError`.
        plain: Returns what msgpack writes for a value.
    """

    check: Callable[[Any], Any]
    plain: Callable[[Any], Any] = _as_it_is


def octets(size: int | None = None, *, most: int | None = None) -> Kind:
    """Return the kind of bytes of exactly one size, or of at most one."""

    def check(value: object) -> object:
        if type(value) is not bytes:
            raise WireError("a field that should be bytes is not", reason="type")
        if (size is not None and len(value) != size) or (most is not None and len(value) > most):
            raise WireError(f"a field of {len(value)} bytes has the wrong size", reason="size")
        return value

    return Kind(check)


def number(most: int = _MOST_NUMBER, *, least: int = 0) -> Kind:
    """Return the kind of whole numbers from ``least`` to ``most``."""

    def check(value: object) -> object:
        if type(value) is not int:
            raise WireError("a field that should be a whole number is not", reason="type")
        if not least <= value <= most:
            raise WireError(f"a number is outside {least} .. {most}", reason="range")
        return value

    return Kind(check)


def text(most: int = _ID_BYTES) -> Kind:
    """Return the kind of printable strings of 1 to ``most`` bytes: names end up in logs."""

    def check(value: object) -> object:
        if type(value) is not str:
            raise WireError("a field that should be text is not", reason="type")
        if not 1 <= len(value.encode()) <= most or not value.isprintable():
            raise WireError(f"a text is not 1 to {most} printable bytes", reason="size")
        return value

    return Kind(check)


def several(kind: Kind, *, most: int) -> Kind:
    """Return the kind of tuples of at most ``most`` values of one kind."""

    def check(value: object) -> object:
        if type(value) is not list:
            raise WireError("a field that should be a list is not", reason="type")
        if len(value) > most:
            raise WireError(f"a list has more than {most} entries", reason="size")
        return tuple(map(kind.check, value))

    if kind.plain is _as_it_is:
        return Kind(check, list)
    return Kind(check, lambda values: [kind.plain(value) for value in values])


def _flag(value: object) -> object:
    if type(value) is not bool:
        raise WireError("a field that should be yes or no is not", reason="type")
    return value


Digest = Annotated[bytes, octets(32)]
Key = Annotated[bytes, octets(32)]
Signature = Annotated[bytes, octets(64)]
Id = Annotated[str, text()]
Flag = Annotated[bool, Kind(_flag)]


class Message:
    """Base of every message: a frozen dataclass whose fields are annotated with their kinds.

    A subclass names its ``label`` and the ``most`` bytes that one may have::

        @dataclass(frozen=True, kw_only=True)
        class Greeting(Message, label="greeting", most=256):
            home: Id
    """

    LABEL: ClassVar[str]
    MOST: ClassVar[int]

    def __init_subclass__(cls, *, label: str, most: int) -> None:
        super().__init_subclass__()
        cls.LABEL, cls.MOST = f"fedhome/{label}", most

    @classmethod
    def kind(cls) -> Kind:
        """Return the kind of a field that holds such a message."""
        return Kind(cls._read, lambda message: message._plain())  # noqa: SLF001 - its own class

    def _plain(self) -> list[Any]:
        kinds = _kinds(type(self))
        values = (kind.plain(getattr(self, name)) for name, kind in kinds.items())
        return [self.LABEL, _VERSION, *values]

    @classmethod
    def _read(cls, plain: object) -> Self:
        kinds = _kinds(cls)
        if type(plain) is not list or len(plain) != 2 + len(kinds):
            raise WireError(f"no {cls.LABEL} message: another number of fields", reason="fields")
        if plain[0] != cls.LABEL or type(plain[1]) is not int or plain[1] != _VERSION:
            raise WireError(f"no {cls.LABEL} message of version {_VERSION}", reason="label")
        pairs = zip(kinds.items(), plain[2:], strict=True)
        return cls(**{name: kind.check(value) for (name, kind), value in pairs})

    def signed_with(self, signature: bytes) -> Self:
        """Return the message with another signature, the field ``signature``.

        What was worked out of the other fields stays known: what is signed is hashed once.

        Args:
            signature: Of what the other fields say.
        """
        made = object.__new__(type(self))
        vars(made).update(vars(self), signature=signature)
        return made

    def to_bytes(self) -> bytes:
        """Return the message in its one form."""
        return b"".join(_pieces(self._plain()))

    def with_ends(self, ends: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what `to_bytes` gives with each of some bytes as the last field.

        What is before it is written once: a server sends a hundred members the same terms, and
        each its own shares.

        Args:
            ends: Values of the last field, which holds bytes.

        Raises:
            WireError: A value is none for the field.
        """
        kind = list(_kinds(type(self)).values())[-1]
        plain = self._plain()
        packer = _packer()
        before = packer.pack_array_header(len(plain)) + b"".join(map(packer.pack, plain[:-1]))
        for end in ends:
            kind.check(end)
            yield before + _bytes_header(len(end)) + end

    def with_end_of(self, own: bytes, other: bytes) -> Self | None:
        """Return the message of other bytes, if it differs from this one in its last field alone.

        Args:
            own: This message's bytes.
            other: Those.

        Returns:
            What `from_bytes` gives of them; None where they have to be read: another size, or more
            that differs.
        """
        name = list(_kinds(type(self)))[-1]
        end = getattr(self, name)
        if type(end) is not bytes or len(other) != len(own):
            return None
        at = len(own) - len(end)
        # After the same beginning, with the length of the field in it, there is no more to read.
        if other[:at] != own[:at]:
            return None
        found = object.__new__(type(self))
        vars(found).update({key: vars(self)[key] for key in _kinds(type(self))})
        vars(found)[name] = other[at:]
        return found

    @classmethod
    def from_bytes(cls, data: bytes, *, most: int | None = None) -> Self:
        """Return the message that ``data`` holds.

        Args:
            data: As `to_bytes` wrote it.
            most: The most bytes that are read, where that is not always the same.

        Raises:
            WireError: Any other bytes.
        """
        return cls._read(cls._unpacked(data, most))

    @classmethod
    def beginning(cls, data: bytes, count: int) -> tuple[list[Any], int]:
        """Return the first fields of a message that another release may have written.

        Only fields that no release has moved may be read by this, and nothing counts by it but
        what is said to people.

        Args:
            data: As `to_bytes` of that release wrote it.
            count: How many fields.

        Returns:
            Their values, and how many fields the message has in all.

        Raises:
            WireError: Any other bytes.
        """
        plain = cls._unpacked(data, None)
        if type(plain) is not list or len(plain) < 2 + count or plain[0] != cls.LABEL:
            raise WireError(f"no {cls.LABEL} message of any release", reason="label")
        kinds = list(_kinds(cls).values())[:count]
        values = [kind.check(value) for kind, value in zip(kinds, plain[2:], strict=False)]
        return values, len(plain) - 2

    @classmethod
    def _unpacked(cls, data: bytes, most: int | None) -> object:
        if type(data) is not bytes or len(data) > (cls.MOST if most is None else most):
            raise WireError(f"a {cls.LABEL} message is too long, or no bytes", reason="size")
        try:
            plain = msgpack.unpackb(
                data, raw=False, strict_map_key=True, max_array_len=min(len(data), _MOST_ENTRIES)
            )
            same = _is_joined(data, _pieces(plain))
        # Whatever msgpack makes of foreign bytes (it knows a dozen errors), they are no message.
        except (
            ValueError,
            TypeError,
            OverflowError,
            RecursionError,
            MemoryError,
            msgpack.UnpackException,
        ):
            raise WireError(f"no {cls.LABEL} message: not readable", reason="format") from None
        if not same:
            raise WireError(f"no {cls.LABEL} message: not in its one form", reason="canonical")
        return plain


def _pieces(plain: object) -> Iterator[bytes]:
    """Yield what msgpack writes, piece by piece: long fields as they are, and not copied."""
    if type(plain) is not list or not any(map(_is_long, plain)):
        yield _packer().pack(plain)
        return
    packer = _packer()
    yield packer.pack_array_header(len(plain))
    for item in plain:
        if _is_long(item):
            yield _bytes_header(len(item))
            yield item
        else:
            yield packer.pack(item)


def _packer() -> msgpack.Packer:
    """Return what writes small things: by itself msgpack sets 256 KB aside for each of them."""
    return msgpack.Packer(use_bin_type=True, buf_size=_BUFFER_BYTES)


def _bytes_header(size: int) -> bytes:
    """Return what msgpack writes before this many bytes."""
    if size < 1 << 8:
        return b"\xc4" + size.to_bytes(1, "big")
    if size < _LONG:
        return b"\xc5" + size.to_bytes(2, "big")
    return _LONG_BYTES + size.to_bytes(4, "big")


def _is_long(item: object) -> TypeGuard[bytes]:
    return type(item) is bytes and len(item) >= _LONG


def _is_joined(data: bytes, pieces: Iterable[bytes]) -> bool:
    """Return whether bytes are just these pieces."""
    at = 0
    for piece in pieces:
        if not data.startswith(piece, at):
            return False
        at += len(piece)
    return at == len(data)


_kinds_by_class: dict[type[Message], dict[str, Kind]] = {}


def _kinds(message: type[Message]) -> dict[str, Kind]:
    """Return the kind of each field of a message, in their order."""
    if message not in _kinds_by_class:
        hints = get_type_hints(message, include_extras=True)
        names = [field.name for field in fields(message)]  # type: ignore[arg-type]  # a dataclass
        _kinds_by_class[message] = {name: hints[name].__metadata__[0] for name in names}
    return _kinds_by_class[message]
