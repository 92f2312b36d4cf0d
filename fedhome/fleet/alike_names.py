"""Names of homes that people would take for each other: a fleet has one of them at most.

An owner reads names, and revokes by name. A device that makes its own entry chooses its name, and
could choose one that looks like another home's.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from fedhome.errors import DirectoryError

_CYRILLIC = ("АВЕКМНОРСТУХІЈЅавекмнорстухіјѕԁһԛԝ", "ABEKMHOPCTYXIJSabekmhopctyxijsdhqw")
_GREEK = ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαικνορτυχωγ", "ABEZHIKMNOPTYXaikvoptuxwy")
_LOOKS_LIKE = {
    **str.maketrans(*_CYRILLIC),
    **str.maketrans(*_GREEK),
}
"""Letters of other alphabets that look like a Latin one in most typefaces."""


def look_of(home: str) -> str:
    r"""Return what a name looks like: the same for names that people would not tell apart.

    >>> look_of("Kitchen") == look_of("kit\u0441hen")
    True

    Letters of either case, of other widths, and Cyrillic and Greek ones that look Latin are taken
    for each other. Digits that look like letters are not: people expect them.

    Args:
        home: The name.
    """
    return unicodedata.normalize("NFKC", home).translate(_LOOKS_LIKE).casefold()


def check_apart(homes: Iterable[str], listed: Iterable[str]) -> None:
    """Refuse names that look like a listed one, or like each other.

    Args:
        homes: The new names; one that is listed itself does not count.
        listed: The names that there are.

    Raises:
        DirectoryError: ``name-alike``.
    """
    looks = {look_of(one): one for one in listed}
    for home in homes:
        there = looks.setdefault(look_of(home), home)
        if there != home:
            raise DirectoryError(
                f"{home!a} looks like {there!a}, a name that is taken",
                reason="name-alike",
                hint="give it a name that nobody takes for the other one: whoever revokes a home "
                "goes by its name",
            )
