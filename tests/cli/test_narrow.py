"""What people agree to, on a terminal that is narrower than the lines in which it is kept."""

from __future__ import annotations

import pytest

from fedhome.cli.console import Console
from fedhome.cli.narrow import fitting, narrowed
from fedhome.clients.membership.consent import Invitation, consent_text
from fedhome.plan.settings import Plan

SECURE = Plan.load(data={"target": "load_kwh"})
PLAIN = SECURE.change(aggregation={"mode": "plain"})


def text_of(plan: Plan) -> str:
    return consent_text(
        Invitation(
            home="kitchen", fleet=bytes(16), server="hub.example:8443", plan=plan, parameters=1234
        )
    )


@pytest.mark.parametrize("plan", [SECURE, PLAIN], ids=["secure", "plain"])
@pytest.mark.parametrize("width", [45, 60, 80])
def test_no_line_is_longer_and_no_word_is_lost(plan: Plan, width: int) -> None:
    text = text_of(plan)
    narrow = narrowed(text, width)
    assert max(map(len, narrow.splitlines())) <= width
    # Word for word the same; a line of = below a title is as long as the terminal allows.
    assert narrow.replace("=", "").split() == text.replace("=", "").split()
    assert narrow.count("\n\n") == text.count("\n\n")
    assert narrow.count("\n  * ") == text.count("\n  * ")
    # Lines are filled: the next word would not have fitted, but where a paragraph ends.
    for line, following in zip(narrow.splitlines(), narrow.splitlines()[1:], strict=False):
        if following.startswith("    ") and following.strip():
            assert len(line) + 1 + len(following.split()[0]) > width


def test_what_it_looks_like() -> None:
    text = (
        "TITLE OF IT ALL, WHICH IS LONG\n==============================\n\n"
        "A paragraph of more words than fit, in\ntwo lines.\n\n"
        "  home    kitchen\n  plan    default: learns to predict\n\n"
        "Of this home:\n  * its name and its two public\n    keys.\n  * when.\n"
    )
    assert narrowed(text, 22) == (
        "TITLE OF IT ALL, WHICH\nIS LONG\n======================\n\n"
        "A paragraph of more\nwords than fit, in two\nlines.\n\n"
        "  home    kitchen\n  plan    default:\n          learns to\n          predict\n\n"
        "Of this home:\n  * its name and its\n    two public keys.\n  * when.\n"
    )
    assert narrowed(text, 40) is text


def test_a_pipe_and_a_wide_terminal_get_it_as_it_is_kept() -> None:
    text = text_of(SECURE)
    assert fitting(Console(width=45, force_terminal=False), text) is text
    assert fitting(Console(width=100, force_terminal=True), text) is text
    assert fitting(Console(width=45, force_terminal=True), text) == narrowed(text, 45)
