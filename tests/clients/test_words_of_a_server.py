"""What a server writes into its questions, and a home's log and status show of it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from fedhome.clients.agent.status_report import StatusReport
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import LayoutError, ManifestError
from fedhome.ops.plain_log import PlainFormatter
from fedhome.wire.layout import Layout

FORGED = "weights\x1b[2J\n2026-11-29 10:00:00 WARNING all is well"
"""A name of numbers: what is wrong with them is told with it."""


def _refused() -> LayoutError:
    with pytest.raises(LayoutError) as refused:
        Layout(("0.weight",), ((1,),)).check([FORGED], np.zeros(1, np.float32))
    assert FORGED in refused.value.message
    return refused.value


def _logged(text: str, formatter: type[logging.Formatter]) -> list[str]:
    record = logging.LogRecord("fedhome.agent", logging.WARNING, "", 0, text, None, None)
    return formatter("%(levelname)s %(message)s").format(record).split("\n")


def test_a_line_of_a_homes_log_is_forged_by_nobody() -> None:
    text = f"a question was not answered: {_refused()}"
    forged = _logged(text, logging.Formatter)  # the control: an entry that nobody made
    assert forged[1].startswith("2026-11-29 10:00:00 WARNING all is well")
    lines = _logged(text, PlainFormatter)
    assert [line[:4] for line in lines] == ["WARN", *["    "] * (len(lines) - 1)]
    assert all(line.isprintable() for line in lines)
    assert r"weights\x1b[2J" in lines[0]


def test_what_keeps_a_home_from_learning_moves_no_cursor(tmp_path: Path) -> None:
    reporting, error = StatusReport(HomeFolder(tmp_path)), _refused()
    reporting.tell_trouble(ManifestError(error.message, reason="layout", hint=error.hint))
    assert r"weights\x1b[2J\n2026" in reporting.now.detail
    assert reporting.now.detail.isprintable()
