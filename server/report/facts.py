"""The report's words and tables: facts of a run, summary, differing settings."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fedhome.counted import counted
from fedhome.plan.settings import Plan
from fedhome.run.compared_models import with_meaning
from fedhome.run.events import SPENT
from fedhome.run.results import SummaryRow, means_of, summary
from fedhome.run.strongest_alone import over_strongest
from fedhome.server.report.number_words import (
    NOTHING,
    duration,
    number,
    p_value,
    share,
    signed,
    size,
)
from fedhome.server.report.run_results import RunResults


def facts(run: RunResults) -> dict[str, str]:
    """Return the facts of a run by name; unknown ones are left out."""
    started = run.started
    closed = len(run.column("round"))
    planned = run.setting("rounds", "count")
    of = f" of {planned}" if planned and planned != closed else ""
    values = {
        "Plan": started.get("plan") or run.setting("name"),
        "Data": _data(run),
        "Date": f"{run.began:%Y-%m-%d %H:%M} UTC" if run.began else None,
        "Duration": duration(run.seconds) + ("" if run.finished else ", unfinished")
        if run.events
        else None,
        "Engine": None if run.real else started.get("engine") or run.setting("engine", "name"),
        "Strategy": _in_file(str(run.setting("strategy", "name") or "")),
        "Aggregation": _aggregation(run),
        "Privacy": _privacy(run),
        "Seed": started.get("seed", run.setting("seed")),
        "Homes": started.get("homes") or _homes(run),
        "Rounds": f"{closed}{of}" if closed else None,
        "Replies": _replies(run) if closed else None,
        "Traffic": _traffic(run) if closed else None,
        "Versions": _pairs(started.get("versions")),
    }
    return {name: str(value) for name, value in values.items() if value not in (None, "")}


def _data(run: RunResults) -> str | None:
    """Return where a run's readings are from; a fleet's plan says it only if its author has."""
    source = run.started.get("data") or run.setting("data", "source")
    return "the homes' own" if run.real and source == Plan().data.source else source


def in_short(run: RunResults) -> str:
    """Return a line on a run: how many homes, for how many rounds, of which data, and when."""
    told = facts(run)
    parts = [
        f"{told[name]} {name.lower() if told[name] != '1' else name.lower()[:-1]}"
        for name in ("Homes", "Rounds")
        if name in told
    ]
    parts += [f"data: {told['Data']}"] if "Data" in told else []
    return " \N{MIDDLE DOT} ".join([*parts, *([told["Date"]] if "Date" in told else [])])


def side_by_side(runs: Sequence[RunResults]) -> dict[str, list[str]]:
    """Return the facts of several runs, each with its value in every run."""
    facts_by_run = [facts(run) for run in runs]
    names = dict.fromkeys(name for facts_of_run in facts_by_run for name in facts_of_run)
    return {
        name: [facts_of_run.get(name, NOTHING) for facts_of_run in facts_by_run] for name in names
    }


_SURE: Final[Mapping[str, tuple[Callable[[float], str], str]]] = {
    "coverage": (share, "of the test rows lie inside bands of 80\N{NO-BREAK SPACE}%"),
    "ece": (number, "calibration error of stated probabilities"),
}
"""How sure predictions are, by metric: how it is written, and what it is."""


def headlines(run: RunResults) -> list[tuple[str, str]]:
    """Return the few numbers that say most, each with what it is."""
    rows = {row.model: row for row in run.summary() if row.homes}
    best = next((model for model in ("personalised", "global") if model in rows), "")
    if not best:
        return []
    learnt = rows[best]
    numbers = [(number(learnt.mean), f"mean {run.score_name}, {best}")]
    if "alone" in rows:
        numbers.append((number(rows["alone"].mean), f"mean {run.score_name}, best alone"))
    if not math.isnan(learnt.gain_low):
        ends = f"{signed(learnt.gain_low)} to {signed(learnt.gain_high)}"
        numbers.append(
            (signed(learnt.gain), f"gain over the best alone (95\N{NO-BREAK SPACE}%: {ends})")
        )
    if run.homes is not None and (hardest := over_strongest([run.homes], best)) is not None:
        told = f"gain over {hardest.alone}, the strongest of all on test rows"
        if not math.isnan(hardest.low):
            ends = f"{signed(hardest.low)} to {signed(hardest.high)}"
            told += f" (95\N{NO-BREAK SPACE}%: {ends})"
        numbers.append((signed(hardest.gain), told))
    sure = {} if run.homes is None else means_of([run.homes], list(_SURE))
    for name, held in sure.items():
        written, meaning = _SURE[name]
        if not math.isnan(held.low):
            meaning += f" (95\N{NO-BREAK SPACE}%: {written(held.low)} to {written(held.high)})"
        numbers.append((written(held.mean), meaning))
    if learnt.compared:
        numbers.append((share(learnt.helped), "of the homes helped"))
        numbers.append((share(learnt.hurt), "of the homes hurt"))
    return numbers


def gain(row: SummaryRow) -> str:
    """Return a row's gain over the best alone; below it its interval, as far as there is one."""
    if math.isnan(row.gain_low):
        return signed(row.gain)
    return f"{signed(row.gain)}\n({signed(row.gain_low)} to {signed(row.gain_high)})"


def mean(row: SummaryRow) -> str:
    """Return a row's mean score; below it its interval, as far as there is one."""
    if math.isnan(row.mean_low):
        return number(row.mean)
    return f"{number(row.mean)}\n({number(row.mean_low)} to {number(row.mean_high)})"


def summary_cells(row: SummaryRow) -> list[str]:
    """Return a row of the summary as text, in the order of :data:`SUMMARY_COLUMNS`."""
    return [
        with_meaning(row.model),
        mean(row),
        number(row.median),
        number(row.p10),
        gain(row),
        share(row.hurt),
        share(row.helped),
        p_value(row.p_value),
        str(row.homes),
    ]


SUMMARY_COLUMNS: Final = (
    ("Model", "what the homes predict with"),
    ("Mean", "over homes, each counting once, with an interval of 95 %"),
    ("Median", "over homes"),
    ("10th pct.", "a tenth of the homes score lower"),
    ("Gain", "mean over homes against the best alone, with an interval of 95 %"),
    ("Hurt", "homes in which it is surely worse than the best alone"),
    ("Helped", "homes in which it is surely better than the best alone"),
    ("p", "two-sided Wilcoxon signed-rank test against the best alone, paired by home"),
    ("Homes", "homes with a score"),
)
"""The columns of the summary, each with what it means."""


def remarks(run: RunResults) -> list[str]:
    """Return what a reader of the summary must know, one sentence each."""
    if run.homes is None:
        return _counted_remarks(run) or ["This run scored no homes."]
    sentences = [
        f"{row.model}: {counted(row.left_out, 'home')} left out for want of a score."
        for row in summary(run.homes)
        if row.left_out
    ]
    if run.started.get("aggregation") in {"secure", "ideal"}:
        sentences.append(
            "Scores of single homes are the simulation's own view of its homes: "
            "the server learnt counts and means alone."
        )
    for column, said in (("expert", _HEAVIEST), ("best", _BEST)):
        by_home = dict(
            zip(run.homes["home"].to_pylist(), run.homes[column].to_pylist(), strict=True)
        )
        if counts := Counter(name for name in by_home.values() if name):
            sentences.append(said.format(_counted(dict(counts.most_common())), len(by_home)))
    if told := _null(run):
        sentences.append(told)
    return sentences


_HEAVIEST = "What weighs most in the homes' mixtures: {} of {} homes."
_BEST = "What was best alone, by the homes' own validation: {} of {} homes."


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} in {n}" for name, n in counts.items() if n)


def _null(run: RunResults) -> str:
    """Return in how many homes one of two trainings of the same model is surely better."""
    told = list(run.verdicts("local").values())
    if not told:
        return ""
    return _said_of_null(told.count("hurt") / len(told), told.count("helped") / len(told))


def _said_of_null(hurt: float, helped: float) -> str:
    return (
        "For comparison: the network alone, trained twice with nothing changed but the order of "
        f"batches, hurts {share(hurt)} and helps {share(helped)} of the homes: one of two "
        "trainings is the better, and the more test rows there are, the more surely that shows."
    )


def _counted_remarks(run: RunResults) -> list[str]:
    if not run.counted:
        return []
    how = (
        "Counted in secret: the server learnt how many homes score how well, not which. Figures "
        "are read off a histogram, scores below -1 count as -1."
    )
    noise = run.counted.get("noise_homes")
    if noise:
        how += f" Each count has noise of about {noise:.3g} homes, up or down."
    return [
        how,
        *(
            said.format(_counted(run.counted[key]), run.counted["homes"])
            for key, said in (("experts", _HEAVIEST), ("best", _BEST))
            if key in run.counted
        ),
        *(
            [_said_of_null(run.counted["null"]["hurt"], run.counted["null"]["helped"])]
            if "null" in run.counted
            else []
        ),
    ]


def differing_settings(runs: Sequence[RunResults]) -> dict[str, list[str]]:
    """Return the settings in which the plans differ, each with its value in every run."""
    plans = [_flat(run.plan) for run in runs]
    names = dict.fromkeys(name for plan in plans for name in plan)
    values = {name: [plan.get(name, NOTHING) for plan in plans] for name in names}
    differ = {name: row for name, row in values.items() if len(set(row)) > 1}
    short = {name: [*map(_in_file, row)] for name, row in differ.items()}
    # Two files of one name in two folders are told apart by the whole of their paths.
    return {
        name: short[name] if len(set(short[name])) == len(set(row)) else row
        for name, row in differ.items()
    }


def command(run: RunResults) -> str:
    """Return the command that started the run, empty where the log does not have it."""
    value = run.started.get("command", "")
    return shlex.join(map(str, value)) if isinstance(value, list) else str(value or "")


def _homes(run: RunResults) -> int | None:
    return len(set(run.homes["home"].to_pylist())) if run.homes is not None else None


_AGGREGATION: Final = {
    "secure": "secure: updates were added up under masks",
    "ideal": "ideal: the sums of the secure protocol, computed without cryptography",
    "plain": "plain: the server saw every update",
    "no": "none: no home made an update",
}


def _aggregation(run: RunResults) -> str:
    mode = str(run.started.get("aggregation") or run.setting("aggregation", "mode") or "")
    return _AGGREGATION.get(mode, mode)


def _privacy(run: RunResults) -> str:
    """Return what the run has cost each home, or that nothing bounds that."""
    spent = [event.data for event in run.events if event.event == SPENT]
    if not spent:
        return ""
    last: Mapping[str, Any] = spent[-1]
    told = f"homes added noise ({last['mechanism']}): \u03b5 {last['epsilon']:.3g}"
    simulated = " (in a simulation it hides nothing)" if "engine" in run.started else ""
    return f"{told} at \u03b4 {last['delta']:g}, for a home in every sum{simulated}"


def _replies(run: RunResults) -> str:
    asked, answered, dropped, late = (
        round(sum(v or 0 for v in run.column(f"homes_{name}")))
        for name in ("asked", "answered", "dropped", "late")
    )
    lost = f" ({dropped} dropped, {late} late)" if dropped or late else ""
    return f"{answered} of {asked}{lost}"


def _traffic(run: RunResults) -> str:
    up, down = (sum(v or 0 for v in run.column(name)) for name in ("bytes_up", "bytes_down"))
    return f"{size(up)} up, {size(down)} down"


def _pairs(versions: object) -> str:
    if not isinstance(versions, Mapping):
        return ""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _in_file(name: str) -> str:
    """Return a name of code without the folders of its file, which its plan has."""
    return re.sub(r"^/.*/(?=[^/]+\.py:\w+$)", "", name)


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}.")
        else:
            flat[above + name] = str(value)
    return flat
