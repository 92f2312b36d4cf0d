"""The log of a home's processes: what a server sends stands in it, and forges no line of it."""

from __future__ import annotations

import logging

from fedhome.printable import shown

_FORM = "%(asctime)s %(levelname)s %(message)s"


class PlainFormatter(logging.Formatter):
    """Writes control characters as their escapes, and indents what follows a first line.

    So nothing that came from elsewhere moves a cursor, or looks like an entry of its own.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Return an entry without the trace of an exception."""
        lines = super().formatMessage(record).split("\n")
        return "\n    ".join(map(shown, lines))


def log_plainly() -> None:
    """Let this process log warnings to its standard error, and whatever it asks for besides."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter(_FORM))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
