"""docs/architecture.md lists what a server may ask, as the tables have it."""

from __future__ import annotations

from pathlib import Path

from fedhome.clients.protocol_questions import PROTOCOL
from fedhome.questions.question_table import SUMMED, SummedQuestion

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"


def rows() -> list[str]:
    """Return the table's lines, one for each question."""
    lines = ["| question | asked by | at most once a | what is summed |", "|---|---|---|---|"]
    for name, row in {**SUMMED, **PROTOCOL}.items():
        summed = "nothing: answered by each home"
        if isinstance(row, SummedQuestion):
            numbers = ", ".join(f"`{stem}`" for stem in row.consent.numbers)
            summed = f"the update, {numbers}" if row.update else numbers
        lines.append(f"| `{name}` | {row.asker} | {row.often} | {summed} |")
    return lines


def test_the_page_lists_every_question_and_no_other() -> None:
    assert "\n".join(rows()) + "\n" in PAGE.read_text(encoding="utf-8")
