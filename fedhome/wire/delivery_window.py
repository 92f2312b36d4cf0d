"""What one end sends again and again, sent once: each message is packed against those before it.

The terms of a sum go to a home with the question, with the vote and with the opening, and every
message names its parts two and three times. Both ends keep the last bytes that went over (DEFLATE
looks back 32 KiB, RFC 1951), and say by a digest which those are; where they differ, as after a
response that was lost, the next message is packed by itself.

Sizes of packed messages tell how alike messages are. That is why only what a server sends to a home
is packed: terms that all homes of a sum have, and shares that are sealed. Nobody who chooses a part
of it (another home, by its keys) could learn another part that it does not have already.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

from fedhome.errors import WireError

DIGEST_BYTES = 16
_WINDOW = 1 << 15
_SHORT, _THOROUGH, _QUICK = 1 << 14, 6, 1  # in what is long, only long matches are worth the time
_RAW = -15  # DEFLATE alone, without a head


@dataclass(frozen=True)
class PackingWindow:
    """The last bytes that went over, as both ends have them.

    Args:
        data: The bytes.
    """

    data: bytes = b""

    @property
    def digest(self) -> bytes:
        """Tells one window from another; empty for one that is empty."""
        return hashlib.sha256(self.data).digest()[:DIGEST_BYTES] if self.data else b""

    def pack(self, message: bytes) -> bytes:
        """Return a message as it goes over.

        Args:
            message: The message.
        """
        level = _THOROUGH if len(message) <= _SHORT else _QUICK
        packing = zlib.compressobj(level, wbits=_RAW, zdict=self.data)
        return packing.compress(message) + packing.flush()

    def unpack(self, packed: bytes, *, most: int) -> bytes:
        """Return the message that the other end has packed against the same window.

        Args:
            packed: What came over.
            most: Bytes of a message.

        Raises:
            WireError: ``packed``: it is none, or is longer.
        """
        unpacking = zlib.decompressobj(wbits=_RAW, zdict=self.data)
        try:
            message = unpacking.decompress(packed, most)
        except zlib.error:
            message = b""
        if not unpacking.eof or unpacking.unused_data:
            raise WireError("a message cannot be unpacked", reason="packed")
        return message

    def after(self, message: bytes) -> PackingWindow:
        """Return the window for the message after one.

        Args:
            message: The one that went over, not packed.
        """
        return PackingWindow((self.data + message)[-_WINDOW:])
