"""How much memory is free on the machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_MEMINFO: Final = Path("/proc/meminfo")


def free_memory(source: Path = _MEMINFO) -> int | None:
    """Return the bytes that a new process could take, as Linux estimates them; None elsewhere.

    Args:
        source: Where Linux says it.
    """
    try:
        text = source.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    return None if found is None else int(found[1]) * 1024
