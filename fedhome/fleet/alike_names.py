"""Names of homes that people would take for each other: a fleet has one of them at most.

An owner reads names, and revokes by name. A device that makes its own entry chooses its name, and
could choose one that looks like another home's.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from fedhome.errors import DirectoryError

_CYRILLIC = ("АВЕКМНОРСТУХІЈЅԀҺԚԜавекмнорстухіјѕԁһԛԝ", "ABEKMHOPCTYXIJSdhQWabekmhopctyxijsdhqw")
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
    known = {*listed}
    names = {look: one for one in known for look in _looks(one)}
    for home in homes:
        there = [names[look] for look in _looks(home) if look in names]
        names |= dict.fromkeys(_looks(home), home)
        if home not in known and {*there} - {home}:
            raise DirectoryError(
                f"{home!a} looks like {there[0]!a}, a name that is taken",
                reason="name-alike",
                hint="give it a name that nobody takes for the other one: whoever revokes a home "
                "goes by its name",
            )


def alike_in(homes: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names that look like an earlier one, each after that one.

    A directory may still list a home that was taken off since, beside one that came for it.

    Args:
        homes: The names, each once.
    """
    names, found = dict[str, str](), []
    for home in homes:
        there = [names[look] for look in _looks(home) if look in names]
        found += [(there[0], home)] if there else []
        names |= dict.fromkeys(_looks(home), home)
    return found


@lru_cache(maxsize=1 << 15)  # an owner who invites many has each compared with all
def _looks(home: str) -> frozenset[str]:
    """Return a name's look, and the name in lower case.

    Of some letters the capital alone looks Latin.
    """
    return frozenset({look_of(home), unicodedata.normalize("NFKC", home).casefold()})
