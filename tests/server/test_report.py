from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedhome.data.read_report import ColumnReport, HomeReport
from fedhome.errors import EventLogError, RunError
from fedhome.plan.settings import Plan
from fedhome.run.compared_models import FEDERATED
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.results import differences, homes_table, rounds_table
from fedhome.server.report.comparison import comparison_figures
from fedhome.server.report.facts import differing_settings, facts
from fedhome.server.report.figures import Figure
from fedhome.server.report.html import write_report
from fedhome.server.report.notices import notices
from fedhome.server.report.number_words import duration, p_value, share
from fedhome.server.report.run_figures import figures
from fedhome.server.report.run_results import RunResults, load
from fedhome.server.report.theme import DARK

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
EXAMPLES = {"examples_train": 600, "examples_validation": 200, "examples_test": 200}
HOSTILE = "<img src=x onerror=alert(1)></script><b>%{y}&amp;"


def verdict_of(model: str, gap: float, home: int) -> str | None:
    """Return what a run might say: of local, that every tenth home seems hurt."""
    if model == "local":
        return "no difference" if home % 10 else "hurt"
    if model not in FEDERATED:
        return None
    return "no difference" if abs(gap) <= 0.01 else "helped" if gap > 0 else "hurt"


def fake_run(
    path: Path,
    *,
    homes: int = 17,
    rounds: int = 12,
    evaluated: bool = True,
    name: str = "small",
    gain: float = 0.08,
    first_home: str = "",
    finished: bool = True,
    seed: int = 1,
) -> RunFolder:
    """Write a run as it might have been, through the same doors as a real one."""
    rng = np.random.default_rng(seed)
    run = RunFolder.create(path)
    run.write_plan(Plan.load(name=name, seed=seed, rounds={"count": rounds}).to_toml())
    minutes = iter(range(10_000))
    names = [f"home-{i:03}" for i in range(homes)]
    if first_home:
        names[0] = first_home
    with EventLog(run.events_path, clock=lambda: NOON + timedelta(minutes=next(minutes))) as log:
        log.append(
            "run-started",
            plan=name,
            data="synthetic, 60 days",
            engine="vector",
            seed=seed,
            score="R²",
            aggregation="secure sums of 8",
            command=["fedhome", "simulate", "plan with space.toml", "--set", "seed=1"],
            versions={"fedhome": "0.1.0", "torch": "2.13.0"},
        )
        log.append("home-excluded", home="home-tiny", reason="fewer than 8 training rows")
        log.append("home-excluded", home="home-flat", reason="fewer than 8 training rows")
        for number in range(1, rounds + 1):
            if number % 5 == 0:
                log.append("reply-dropped", round=number, home=names[0], reason="not finite")
            log.append("round-closed", round=number)
        if finished:
            log.append("early-stop", round=rounds, best_round=max(rounds - 3, 1))
            log.append("run-finished", rounds=rounds)
    rows = []
    for number in range(1, rounds + 1):
        down = float(np.exp(-number / 8))
        noise = float(rng.normal(0, 0.01))
        rows.append(
            {
                "round": number,
                "homes_asked": homes,
                "homes_answered": homes - (number % 5 == 0),
                "homes_dropped": int(number % 5 == 0),
                "homes_late": 0,
                "train_loss": 0.2 + 0.5 * down,
                "validation_loss": 0.28 + 0.45 * down + noise if evaluated else None,
                "validation_score": 0.7 - 0.5 * down - noise if evaluated else None,
                "bytes_up": homes * 21_000,
                "bytes_down": homes * 22_500,
                "seconds_train": 1.2 + 0.1 * noise,
                "seconds_evaluate": 0.4 if evaluated else 0.0,
                "seconds_other": 0.15 + abs(noise),
            }
        )
    run.write_rounds(rounds_table(rows))
    if evaluated:
        local = np.clip(rng.normal(0.6, 0.12, homes), -0.5, 0.98)
        pooled = np.clip(local + rng.normal(gain / 2, 0.08, homes), -0.5, 0.98)
        own = np.clip(np.maximum(local, pooled) + rng.normal(gain / 4, 0.03, homes), -0.5, 0.99)
        by_model = {
            "baseline": local - 0.2,
            "local": local - 0.05,
            "alone": local,
            "global": pooled,
            "personalised": own,
        }
        run.write_homes(
            homes_table(
                {"home": home, "model": model, "score": scores[i], "loss": 1 - scores[i]}
                | EXAMPLES
                | {"expert": "global" if pooled[i] > own[i] else "tuned", "best": "local"}
                | {"verdict": verdict_of(model, scores[i] - local[i], i)}
                for model, scores in by_model.items()
                for i, home in enumerate(names)
            )
        )
    return run


VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """A page taken apart: what is open, what it loads, what it says."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.blocks.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            attributes, text = self.blocks[-1]
            self.blocks[-1] = (attributes, text + data)
        elif self.open and self.open[-1] != "style":
            self.text += data

    plots: dict[str, Any]
    """What is drawn, as Plotly describes it, by the figures' keys."""


def page_of(*runs: RunFolder) -> Page:
    path = write_report(runs, runs[0].report_path)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert page.unbalanced == []
    loaded = load(runs)
    made = figures(loaded[0]) if len(runs) == 1 else comparison_figures(loaded)
    page.plots = {figure.key: json.loads(figure.plot.to_json()) for figure in made}
    drawn = [attributes["class"] for tag, attributes in page.tags if tag == "svg"]
    assert drawn == ["wide-plot", "narrow-plot"] * len(made)
    return page


def results_of(run: RunFolder) -> RunResults:
    return load([run])[0]


def by_key(made: list[Figure]) -> dict[str, Figure]:
    return {figure.key: figure for figure in made}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fake_run(tmp_path_factory.mktemp("runs") / "small-1")


@pytest.fixture(scope="module")
def page(run: RunFolder) -> Page:
    return page_of(run)


@pytest.mark.long
def test_the_page_has_what_the_run_has(page: Page) -> None:
    assert set(page.plots) == {"curves", "distribution", "differences", "gains", "traffic"}
    for fact in (
        "small-1",
        "2026-11-23 12:00 UTC",
        "vector",
        "secure sums of 8",
        "fedhome simulate 'plan with space.toml' --set seed=1",
        "torch 2.13.0",
        "[rounds]",
        "fewer than 8 training rows",
        "home-tiny, home-flat",
    ):
        assert fact in page.text
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    places = [attributes for _, attributes in page.tags if attributes.get("role") == "img"]
    assert len(places) == 5
    assert all(attributes["aria-label"] for attributes in places)


@pytest.mark.long
def test_nothing_is_fetched_from_anywhere(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "base", "form", "object"}
        assert not {"src", "href", "srcset", "action"} & set(attributes)
    style = (Path(__file__).parents[2] / "server/report/page.css").read_text()
    assert "url(" not in style
    assert "@import" not in style


def test_a_table_wider_than_a_screen_shows_at_its_edge_that_it_goes_on() -> None:
    rooms = Path(__file__).parents[2] / "server"
    style = (rooms / "report/page.css").read_text()
    (rule,) = re.findall(r"^\.wide \{([^}]*)\}", style, re.MULTILINE)
    assert "overflow-x: auto" in rule
    cover, shade = re.findall(r"linear-gradient\(to left, var\((\S+)\).*\bno-repeat (\w+)", rule)
    assert cover == ("--paper", "local")  # at the table's own end, wherever that is
    assert shade == ("--shade", "scroll")  # at the edge of what is seen, beneath the cover
    assert style.count("--shade: rgb(") == 2  # light and dark
    pages = [
        page.read_text() for name in ("report", "page") for page in (rooms / name).glob("*.j2")
    ]
    around = re.compile(
        r'<div class="wide[^>]* tabindex="0" role="region" aria-labelledby="[^"]+">\s*<table'
    )
    assert [len(around.findall(page)) for page in pages] == [page.count("<table") for page in pages]


@pytest.mark.long
def test_a_report_is_small_and_whole(run: RunFolder, tmp_path: Path) -> None:
    big = fake_run(tmp_path / "big", homes=1000, rounds=100)
    for one in (run, big):
        assert write_report([one], one.report_path).stat().st_size < 300_000


@pytest.mark.long
def test_no_script_runs_in_a_page_without_a_table_of_homes(tmp_path: Path) -> None:
    page = page_of(fake_run(tmp_path / "run", evaluated=False))
    assert page.blocks == []
    metas = [attributes for tag, attributes in page.tags if tag == "meta"]
    policy = next(
        str(meta["content"])
        for meta in metas
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "script-src" not in rules


def test_curves_hold_the_rounds_numbers(run: RunFolder, page: Page) -> None:
    table = run.read_rounds()
    lines = {line["name"]: line for line in page.plots["curves"]["data"]}
    for name, column in {
        "training loss": "train_loss",
        "validation loss": "validation_loss",
        "validation R²": "validation_score",
    }.items():
        assert lines[name]["x"] == table["round"].to_pylist()
        assert lines[name]["y"] == pytest.approx(table[column].to_pylist())


def test_distribution_holds_every_home_under_every_model(run: RunFolder, page: Page) -> None:
    data = page.plots["distribution"]["data"]
    dots = {trace["name"]: trace for trace in data if trace["mode"] == "markers"}
    assert list(dots) == ["baseline", "alone", "global", "personalised"]
    table = run.read_homes().to_pylist()
    expected = {row["home"]: row["score"] for row in table if row["model"] == "personalised"}
    assert dict(
        zip(dots["personalised"]["customdata"], dots["personalised"]["y"], strict=True)
    ) == pytest.approx(expected)
    assert sum(x is None for x in data[0]["x"]) == 17


@pytest.mark.long
def test_differences_are_sorted_and_told_apart_by_the_verdicts(run: RunFolder) -> None:
    made = by_key(figures(results_of(run)))["differences"].plot
    expected = differences(run.read_homes(), "personalised")
    bars = {bar.name.split(":")[0]: bar for bar in made.data}
    assert max(bars["hurt"].y, default=-1.0) < -0.01
    assert max(map(abs, bars["no difference"].y), default=0.0) <= 0.01
    assert min(bars["helped"].y) > 0.01
    told = results_of(run).verdicts("personalised")
    assert {home: name for name, bar in bars.items() for home in bar.customdata} == told
    drawn = sorted(
        (x, home, y)
        for bar in bars.values()
        for x, home, y in zip(bar.x, bar.customdata, bar.y, strict=True)
    )
    assert [x for x, _, _ in drawn] == list(range(1, 18))
    assert [y for _, _, y in drawn] == sorted(expected.values())
    assert {home: y for _, home, y in drawn} == expected


def test_the_homes_mixtures_and_the_null_are_told_in_words(run: RunFolder, page: Page) -> None:
    table = [row for row in run.read_homes().to_pylist() if row["model"] == "personalised"]
    tuned = sum(row["expert"] == "tuned" for row in table)
    assert tuned == 17 or f"tuned in {tuned}" in page.text
    for said in (
        "What weighs most in the homes' mixtures: tuned in ",
        "What was best alone, by the homes' own validation: local in 17 of 17 homes.",
        # Homes 0 and 10 of 17.
        "batches, hurts 12 % and helps 0 % of the homes: one of two trainings is the better",
        "gain over the best alone (95\N{NO-BREAK SPACE}%: ",
        "leaves out zero; for all others no difference can be told.",
    ):
        assert said in page.text, said


def test_traffic_adds_up(run: RunFolder, page: Page) -> None:
    bars = {bar["name"]: bar for bar in page.plots["traffic"]["data"]}
    assert page.plots["traffic"]["layout"]["barmode"] == "stack"
    assert bars["kB up"]["y"] == pytest.approx([17 * 21.0] * 12)
    assert bars["kB down"]["y"] == pytest.approx([17 * 22.5] * 12)
    assert bars["s training"]["y"] == run.read_rounds()["seconds_train"].to_pylist()


@pytest.mark.long
def test_a_thousand_homes_are_drawn_as_shapes(tmp_path: Path) -> None:
    big = results_of(fake_run(tmp_path / "big", homes=1000, rounds=3))
    made = by_key(figures(big))
    violins = [trace for trace in made["distribution"].plot.data if trace.type == "violin"]
    assert [len(violin.y) for violin in violins] == [1000] * 4
    assert sum(len(bar.x) for bar in made["differences"].plot.data) == 1000


@pytest.mark.long
def test_every_colour_of_a_figure_has_a_partner_in_the_dark(page: Page) -> None:
    def colours(value: object, key: str = "") -> list[str]:
        if isinstance(value, dict):
            return [c for name, below in value.items() for c in colours(below, name)]
        if isinstance(value, list):
            return [c for below in value for c in colours(below, key)]
        return [str(value)] if re.search("color$", key, re.IGNORECASE) else []

    used = {colour for plot in page.plots.values() for colour in colours(plot)}
    assert len(used) > 5
    assert used - set(DARK) == {"rgba(0,0,0,0)"}


@pytest.mark.long
def test_hostile_names_are_text_everywhere(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", first_home=HOSTILE)
    path = write_report([run], run.report_path)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert page.unbalanced == []
    assert not [tag for tag, _ in page.tags if tag in {"img", "b"}]
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert HOSTILE in page.text
    assert page.text.count(f"{HOSTILE}, ") > 4, "in the words of dots and bars, too"


@pytest.mark.long
def test_a_run_without_evaluation_claims_none(tmp_path: Path) -> None:
    page = page_of(fake_run(tmp_path / "run", evaluated=False))
    assert set(page.plots) == {"curves", "traffic"}
    assert [line["name"] for line in page.plots["curves"]["data"]] == ["training loss"]
    assert "This run scored no homes." in page.text
    assert "measured no validation loss" in page.text
    assert "Median" not in page.text


def test_a_run_that_just_began_has_a_page(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_plan(Plan().to_toml())
    page = page_of(run)
    assert page.plots == {}
    assert "The log tells of none." in page.text
    assert "does not tell the command" in page.text


@pytest.mark.long
def test_a_run_without_models_alone_claims_no_comparison(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    rows = [
        {**row, "verdict": None} for row in run.read_homes().to_pylist() if row["model"] == "global"
    ]
    run.write_homes(homes_table(rows))
    page = page_of(run)
    assert set(page.plots) == {"curves", "distribution", "traffic"}
    assert "counts as hurt" not in page.text


def test_what_a_run_came_to_stands_before_how_it_was_made(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    said = page_of(run).text
    short = "17 homes · 12 rounds · data: synthetic, 60 days · 20"
    places = [
        said.index(words)
        for words in (short, "gain over the best alone", "Summary", "About this run", "Versions")
    ]
    assert places == sorted(places)


def test_one_round_is_no_rounds(tmp_path: Path) -> None:
    assert "17 homes · 1 round · data:" in page_of(fake_run(tmp_path / "run", rounds=1)).text


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", finished=False)
    with run.events_path.open("ab") as log:
        log.write(b'{"data":{"half a li')
    told = facts(results_of(run))
    assert told["Duration"].endswith("unfinished")
    assert told["Rounds"] == "12"
    assert told["Replies"] == "202 of 204 (2 dropped, 0 late)"


def test_time_between_a_crash_and_resuming_does_not_count(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_plan(Plan().to_toml())
    minutes = iter([0, 10, 100, 105])
    with EventLog(run.events_path, clock=lambda: NOON + timedelta(minutes=next(minutes))) as log:
        for kind in ("run-started", "round-closed", "run-resumed", "run-finished"):
            log.append(kind)
    assert results_of(run).seconds == 15 * 60


def test_code_of_ones_own_is_called_by_its_file(tmp_path: Path) -> None:
    places = ["/home/ada/mine.py:Mine", "/home/ada/mine.py:Other", "fedavg"]
    twins = ["/home/ada/a/mine.py:Mine", "/home/ada/b/mine.py:Mine"]
    runs = {}
    for place in (*places, *twins):
        runs[place] = fake_run(tmp_path / str(len(runs)), homes=3, rounds=2, evaluated=False)
        runs[place].write_plan(Plan.load(strategy={"name": place}).to_toml())
    found = load([runs[place] for place in places])
    assert [facts(run)["Strategy"] for run in found] == ["mine.py:Mine", "mine.py:Other", "fedavg"]
    told = differing_settings(found)
    assert told["strategy.name"] == ["mine.py:Mine", "mine.py:Other", "fedavg"]
    assert differing_settings(load([runs[place] for place in twins]))["strategy.name"] == twins


@pytest.mark.long
def test_several_runs_are_compared(tmp_path: Path) -> None:
    first = fake_run(tmp_path / "a", homes=17, gain=0.08)
    second = fake_run(tmp_path / "b", homes=300, gain=0.02, seed=7, rounds=20)
    third = fake_run(tmp_path / "c", evaluated=False)
    page = page_of(first, second, third)
    assert set(page.plots) == {"curves", "distribution", "differences"}
    curves = page.plots["curves"]["data"]
    assert [(line["name"], len(line["x"])) for line in curves if line["showlegend"]] == [
        ("a", 12),
        ("b", 20),
        ("c", 12),
    ]
    assert len(curves) == 3 + 3 + 1
    shapes = page.plots["distribution"]["data"]
    assert sorted(len(shape["x"]) for shape in shapes) == [17, 17, 300, 300]
    assert [trace["name"] for trace in page.plots["differences"]["data"]] == ["a", "b"]
    gains = page.plots["differences"]["data"][0]
    assert gains["y"] == sorted(gains["y"])
    assert differing_settings(load([first, second])) == {
        "seed": ["1", "7"],
        "rounds.count": ["12", "20"],
    }
    assert "All runs have the same plan" not in page.text


@pytest.mark.long
def test_labels_are_told_apart(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        fake_run(tmp_path / folder / "run", homes=6, rounds=1)
    runs = [RunFolder(tmp_path / "x" / "run"), RunFolder(tmp_path / "y" / "run")]
    assert [run.label for run in load(runs)] == ["x/run", "y/run"]
    assert [run.label for run in load(runs[:1] * 2)] == ["1: x/run", "2: x/run"]
    assert comparison_figures(load(runs))


def test_equal_events_are_taken_together(run: RunFolder) -> None:
    found = {notice.kind: notice for notice in notices(run.read_events())}
    assert list(found) == ["Home excluded", "Reply dropped", "Early stop"]
    assert found["Home excluded"].times == 2
    assert found["Reply dropped"].where == "home-000; 2 rounds from 5 to 10"
    assert found["Early stop"].reason == "best round 9"


def test_only_known_details_of_events_are_shown(tmp_path: Path) -> None:
    with EventLog(tmp_path / "log") as log:
        event = log.append("reply-dropped", reason="malformed", readings=[20.5], address="x")
    (notice,) = notices([event])
    assert (notice.reason, notice.where) == ("malformed", "\N{EN DASH}")


def test_events_of_nodes_rounds_and_notes_are_shown(tmp_path: Path) -> None:
    with EventLog(tmp_path / "log") as log:
        events = [
            log.append("reply-dropped", stage="evaluate", node=7, reason="malformed"),
            log.append("round-failed", round=3, homes=1, needed=4),
            log.append("round-failed", round=4, homes=0, needed=3, reason="no sum was opened"),
            log.append("sum-failed", round=4, stage="train", homes=3, reason="too few answered"),
            log.append("homes-late", round=5, homes=["ash", "elm"], reason="nobody waits for them"),
            log.append("homes-late", round=6, homes=["ash"], reason="nobody waits for them"),
            log.append("note", text="no kernel for this model"),
            log.append("fleet-ready", homes=5),
        ]
    assert [(notice.kind, notice.reason, notice.where) for notice in notices(events)] == [
        ("Reply dropped", "malformed; stage evaluate", "node 7"),
        ("Round failed", "1 home answered, 4 are needed", "round 3"),
        ("Round failed", "no sum was opened", "round 4"),
        ("Sum failed", "too few answered; stage train; 3 homes", "round 4"),
        ("Homes late", "nobody waits for them", "ash, elm; 2 rounds from 5 to 6"),
        ("Note", "no kernel for this model", "\N{EN DASH}"),
    ]


def test_what_the_log_says_later_completes_the_start(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", evaluated=False)
    with EventLog(run.events_path) as log:
        log.append("run-resumed", seed=1)
        log.append("fleet-ready", homes=23, engine="sequential")
    told = facts(results_of(run))
    assert (told["Homes"], told["Engine"], told["Data"]) == (
        "23",
        "sequential",
        "synthetic, 60 days",
    )


@pytest.mark.long
def test_what_cannot_be_reported_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run"):
        write_report([], tmp_path / "out.html")
    with pytest.raises(RunError, match="holds no run"):
        write_report([RunFolder(tmp_path)], tmp_path / "out.html")
    run = fake_run(tmp_path / "run", rounds=1)
    with pytest.raises(RunError, match="cannot be written"):
        write_report([run], tmp_path / "nowhere" / "out.html")
    run.events_path.write_bytes(run.events_path.read_bytes().replace(b"flat", b"tiny"))
    with pytest.raises(EventLogError, match="line 3"):
        write_report([run], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0 %"), (0.001, "<1 %"), (0.996, ">99 %"), (1.0, "100 %"), (0.125, "12 %")],
)
def test_shares_do_not_round_to_none_or_all(value: float, shown: str) -> None:
    assert share(value) == shown


def test_numbers_as_text() -> None:
    assert [p_value(p) for p in (0.0004, 0.0123, float("nan"))] == [
        "<0.001",
        "0.012",
        "\N{EN DASH}",
    ]
    assert [duration(s) for s in (1.25, 61, 7260)] == ["1.2 s", "1 min 1 s", "2 h 1 min"]


@pytest.mark.long
def test_it_shows_how_the_homes_files_were_read(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", homes=3, rounds=2)
    assert 'id="readings"' not in write_report([run], tmp_path / "a.html").read_text("utf-8")
    column = ColumnReport.of(
        np.array([0.5, np.nan, 2.5]), name="load", source=HOSTILE, kind="number", unit="kWh"
    )
    read = HomeReport(
        home=HOSTILE,
        files=("a.csv: CSV",),
        rows_read=4,
        rows_kept=3,
        time=None,
        columns=(column,),
    )
    run.write_readings([read.to_dict()])
    page = write_report([run], tmp_path / "b.html").read_text("utf-8")
    section = page[page.index('id="readings"') :]
    for words in ("3 of 4 rows kept; no times", "number, kWh", "<td>0.5</td>", "<td>2.5</td>"):
        assert words in section
    assert HOSTILE not in page
    run.readings_path.write_text('[{"home": 1}]', encoding="utf-8")
    with pytest.raises(RunError, match="is damaged"):
        write_report([run], tmp_path / "c.html")
