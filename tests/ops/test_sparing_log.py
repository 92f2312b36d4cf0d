"""A log that a visitor tries to fill."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from fedhome.ops.sparing_log import (
    AT_ONCE,
    EVERY_S,
    LONGEST,
    LONGEST_TRACE,
    TRACE,
    SparingLog,
    log_sparingly,
)

NAME = "fedhome.test_sparing_log"
DAY_S = 86_400


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture
def lines() -> Iterator[Lines]:
    log, handler = logging.getLogger(NAME), Lines()
    log.addHandler(handler)
    log.propagate = False
    yield handler
    log.removeHandler(handler)
    log.propagate = True
    for one in list(log.filters):
        log.removeFilter(one)


def test_a_day_of_complaints_is_short(lines: Lines) -> None:
    log, now = logging.getLogger(NAME), [0.0]

    def complain() -> int:
        before = sum(map(len, lines.texts))
        for second in range(0, DAY_S, 10):
            now[0] = float(second)
            for _ in range(10):
                log.warning("a home does not connect: %s", "x" * 200)
        return sum(map(len, lines.texts)) - before

    without = complain()
    log.addFilter(SparingLog(lambda: now[0]))
    within = complain()
    assert without == 10 * (DAY_S // 10) * len(f"a home does not connect: {'x' * 200}")
    assert within <= (AT_ONCE + DAY_S / EVERY_S + 1) * 300
    assert "(9 lines before this were left out: there were too many)" in lines.texts[-1]


def test_what_is_usual_is_logged_as_it_is(lines: Lines) -> None:
    log = logging.getLogger(NAME)
    log_sparingly(NAME)
    for number in range(AT_ONCE):
        log.warning("number %d", number)
    assert lines.texts == [f"number {number}" for number in range(AT_ONCE)]


def test_a_line_has_an_end(lines: Lines) -> None:
    log_sparingly(NAME)
    logging.getLogger(NAME).warning("of %s", "y" * 5_000_000)
    (text,) = lines.texts
    assert len(text) < LONGEST + 100
    assert text.endswith(f"{5_000_003 - LONGEST} characters more")


def test_a_trace_counts_for_more(lines: Lines) -> None:
    log = logging.getLogger(NAME)
    log.addFilter(SparingLog(lambda: 0.0))
    for _ in range(AT_ONCE):
        log.warning("it failed", exc_info=ValueError())
    assert len(lines.texts) == AT_ONCE // TRACE


def test_a_trace_has_an_end_too(lines: Lines) -> None:
    log_sparingly(NAME)
    try:
        dict[str, int]()["z" * 5_000_000]
    except KeyError:
        logging.getLogger(NAME).exception("it failed", stack_info=True)
    (text,) = lines.texts
    assert text.startswith("it failed\nTraceback (most recent call last):\n")
    assert "characters left out" in text
    assert len(text) < len("it failed") + 2 * LONGEST_TRACE + 200


def test_a_usual_trace_is_whole(lines: Lines) -> None:
    log_sparingly(NAME)
    try:
        float("of old")
    except ValueError:
        logging.getLogger(NAME).exception("it failed")
    (text,) = lines.texts
    assert text.startswith("it failed\nTraceback")
    assert text.endswith("could not convert string to float: 'of old'")
