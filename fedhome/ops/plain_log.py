"""The log of a process: what others send stands in it, and forges no line of it."""

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


def log_plainly(*news: str) -> None:
    """Let this process log warnings to its standard error, and good news of some loggers.

    Args:
        news: Names of loggers.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter(_FORM))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for name in news:
        logging.getLogger(name).setLevel(logging.INFO)
