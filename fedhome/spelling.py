"""What was meant by a name that is nearly right: every error about an unknown name asks here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_ALIKE = 0.65  # of difflib's ratio, from 0 to 1: "hour" is not meant by "source"
_ALIKE_ELSEWHERE = 0.75  # of settings of other sections: "kind" is not meant by "window"
_ALIKE_AS_A_WHOLE = 0.8  # below it, the words that a name begins with say more: "target" of two
_BEGINS = 3  # letters by which a name is known that is the only one to begin with them
_OTHERS_WORDS = {  # what others call a setting, where no letters tell
    **dict.fromkeys(("resample", "resolution", "freq", "frequency", "interval"), "data.step"),
    **dict.fromkeys(("lookback", "look-back", "window", "window-size"), "data.lags"),
}


def nearest(name: str, known: Iterable[str], *, alike: float = _ALIKE) -> str | None:
    """Return the known name that is most like a given one; None where none is.

    A name that a given one begins with, word for word, is meant unless another is nearly the same.
    The beginning of one name alone is like it, from three letters on, and so are the first letters
    of one name's words: ``lr`` of ``learning_rate``. Capitals, and which of
    ``-``, ``_`` and the blank stands between words, count for nothing.

    Args:
        name: As it was given.
        known: The names that would have been right.
        alike: How like it must be at least, as `difflib` counts: from 0 to 1.
    """
    plain, given = {_plain(one): one for one in known}, _plain(name)
    found = difflib.get_close_matches(given, plain, n=1, cutoff=max(alike, _ALIKE_AS_A_WHOLE))
    if not found:  # "target-column" is "target", and not "target-unit"
        found = sorted((one for one in plain if given.startswith(f"{one}-")), key=len)[-1:]
    if not found:
        found = difflib.get_close_matches(given, plain, n=1, cutoff=alike)
    if not found and len(given) >= _BEGINS:
        begun = [one for one in plain if one.startswith(given)]
        found = begun if len(begun) == 1 else []
    if not found:
        short = [one for one in plain if "-" in one and _first_letters(one) == given]
        found = short if len(short) == 1 else []
    return plain[found[0]] if found else None


def _first_letters(plain: str) -> str:
    return "".join(word[:1] for word in plain.split("-"))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: what was meant, or nothing.

    >>> "strategy 'fedagv' is unknown" + did_you_mean("fedagv", ["fedavg", "krum"])
    "strategy 'fedagv' is unknown: did you mean 'fedavg'?"
    """
    found = nearest(name, known)
    return "" if found is None else f": did you mean {found!r}?"


def setting_meant(place: str, given: object, known: Iterable[str]) -> str:
    """Return the end of a sentence about a setting that there is not: which was meant, or nothing.

    >>> setting_meant("learning_rate", 0.1, ["train.epochs", "train.learning_rate"])
    ': it is train.learning_rate'
    >>> setting_meant("data.resample", "1h", ["data.rename", "data.step"])
    ': it is data.step'

    Args:
        place: Where it was set, such as ``"rounds.cuont"``.
        given: What it was set to: a table, where a whole section is not known.
        known: All settings, each with its section.
    """
    known = list(known)
    section, _, leaf = place.rpartition(".")
    if isinstance(given, dict) and not section:
        return _section_meant(place, list(map(str, given)), known)
    other = _OTHERS_WORDS.get(_plain(leaf), "")
    if other in known and section in {"", other.rpartition(".")[0]}:
        return f": it is {other}"
    if found := _beside(section, leaf, known):
        return _asked([found])
    if named := _of_leaf(leaf, known):
        return _asked(named) if section else f": it is {' or '.join(named)}"
    near = nearest(leaf, map(_leaf, known), alike=_ALIKE_ELSEWHERE)
    return "" if near is None else _asked(_of_leaf(near, known))


_MOST = 3  # names in a question; more would say nothing


def _section_meant(place: str, keys: list[str], known: list[str]) -> str:
    section = nearest(place, {name.rpartition(".")[0] for name in known} - {""})
    if section is None:
        return _asked([name for key in keys for name in _of_leaf(key, known)])
    return _asked([name for key in keys if (name := _beside(section, key, known))] or [section])


def _beside(section: str, leaf: str, known: list[str]) -> str | None:
    """Return the setting of a section that is most like a name; None where none is."""
    of_section = {_leaf(name): name for name in known if name.rpartition(".")[0] == section}
    found = nearest(leaf, of_section)
    return None if found is None else of_section[found]


def _of_leaf(leaf: str, known: list[str]) -> list[str]:
    return [name for name in known if _leaf(name) == leaf]


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _asked(names: list[str]) -> str:
    return f": did you mean {' or '.join(names)}?" if 0 < len(names) <= _MOST else ""


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-").replace(" ", "-")
