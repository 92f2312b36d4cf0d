"""What is told of homes that only beside one another look odd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fedhome.data.homes_side_by_side import noticed
from fedhome.data.table import HomeTable

LOAD = np.linspace(100, 1000, 20)


def home(name: str, load: Any = LOAD, **more: Any) -> HomeTable:
    columns = {"load": np.asarray(load, dtype=np.float64), **more.pop("columns", {})}
    return HomeTable(
        home=name, time_s=np.arange(len(columns["load"])) * 3600, columns=columns, **more
    )


def words(name: str, *spelled: str) -> HomeTable:
    mode = np.arange(20.0) % len(spelled)
    return home(name, columns={"mode": mode}, labels={"mode": spelled})


def test_usual_homes_say_nothing() -> None:
    assert noticed([home("a"), home("b", LOAD * 30), home("c", LOAD * 0)]) == []
    assert noticed([words("a", "heat", "off"), words("b", "cool", "off")]) == []


def test_copies_are_told() -> None:
    assert noticed([home("a"), home("b", LOAD + 1), home("c")]) == [
        "the homes a, c hold the same readings: they may be copies of one home"
    ]


def test_watts_beside_kilowatts_without_a_unit_are_told() -> None:
    (note,) = noticed([home("a"), home("b", LOAD / 1000), home("c", LOAD / 500)])
    assert note.startswith("column 'load' is hundreds of times larger in a than in b, c: they may")


def test_a_unit_that_only_some_homes_say_is_told() -> None:
    (note,) = noticed([home("a", units={"load": "W"}), home("b", LOAD / 1000)])
    assert note == (
        "column 'load' has a unit in a and none in b, whose numbers were taken as they are"
    )


def test_homes_that_say_their_units_may_differ() -> None:
    both = [home("a", units={"load": "W"}), home("b", LOAD / 1000, units={"load": "kW"})]
    assert noticed(both) == []


def test_a_meter_beside_what_others_use_is_told() -> None:
    used = np.random.default_rng(1).gamma(2.0, 0.2, 200)

    def dated(name: str, load: Any) -> HomeTable:
        times = 1_717_200_000 + 3600 * np.arange(len(load))
        return HomeTable(home=name, time_s=times, columns={"load": load})

    homes = [dated("a", used), dated("b", 9 + np.cumsum(used)), dated("c", used + 0.1)]
    (note,) = noticed([*homes, dated("short", used[:50]), dated("still", 0 * used)])
    assert note.startswith("column 'load' counts up, like a meter, in b, and does not in a, c: ")
    assert noticed([dated("a", np.cumsum(used)), dated("b", 9 + np.cumsum(used))]) == []
    seasons = [
        HomeTable(home=one.home, time_s=one.time_s, columns={"Year": one.columns["load"]})
        for one in homes
    ]
    assert noticed(seasons) == []
    numbered = replace(homes[1], home="rows", time_s=np.arange(len(used)))
    assert noticed([homes[0], homes[2], numbered]) == []


def test_words_that_differ_in_capitals_are_told() -> None:
    (note,) = noticed([words("a", "heat", "off"), words("b", "Heat", "off")])
    assert note.startswith("column 'mode': 1 word is written in several ways")
