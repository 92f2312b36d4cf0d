"""A server's numbers for Prometheus: their names, what they mean, and the text that is scraped.

No name of a home is in them, nor anything of a single home's readings or scores.

Source: the text format of https://prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fedhome.run.events import SPENT
from fedhome.server.daemon.server_status import RunStatus, ServerStatus
from fedhome.server.page.page_content import PageContent

RUN_STATES: Final = ("running", "finished", "failed", "cancelled")
"""What a run can be."""

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True)
class FleetMetric:
    """One metric; all are gauges.

    Args:
        name: Its name.
        meaning: What it says.
        labels: Names of its labels.
    """

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


METRICS: Final[Sequence[FleetMetric]] = (
    FleetMetric(
        "fedhome_info",
        "1; what runs: fedhome's release and build, and the fleet",
        ("version", "fleet"),
    ),
    FleetMetric("fedhome_up", "1 where the process answers, else 0", ("process",)),
    FleetMetric("fedhome_faults", "Faults that `fedhome server status` warns of"),
    FleetMetric("fedhome_homes", "Homes in the directory"),
    FleetMetric("fedhome_homes_connected", "Homes that are connected"),
    FleetMetric("fedhome_homes_left_out", "Homes that are asked nothing, since they spoiled sums"),
    FleetMetric(
        "fedhome_homes_refusing",
        "Homes that refuse a question, or (question `connect`) to connect, by their word",
        ("question", "reason"),
    ),
    FleetMetric("fedhome_enrolments_waiting", "Enrolments that wait for the fleet's owner"),
    FleetMetric("fedhome_certificate_days_left", "Days until the server's certificate ends"),
    FleetMetric("fedhome_directory_days_left", "Days until the directory ends; none without one"),
    FleetMetric("fedhome_release_number", "Number of the newest release"),
    FleetMetric("fedhome_release_timestamp_seconds", "When it was published, Unix time"),
    FleetMetric("fedhome_run_state", "1 at the state of the current or last run", ("state",)),
    FleetMetric("fedhome_run_waiting", "1 while the run waits for homes, or for a failed round"),
    FleetMetric("fedhome_run_round", "The last round of it that is done"),
    FleetMetric("fedhome_run_rounds", "Rounds in its plan, at most"),
    FleetMetric("fedhome_run_last_event_timestamp_seconds", "Its log's last event, Unix time"),
    FleetMetric("fedhome_run_failed_rounds", "Rounds of it that failed and were repeated"),
    FleetMetric("fedhome_run_dropped_replies", "Replies of homes in it that could not be used"),
    FleetMetric("fedhome_run_privacy_epsilon", "What it has cost each home so far, with noise"),
    FleetMetric("fedhome_round_train_loss", "Mean over all homes' training examples, last round"),
    FleetMetric("fedhome_round_validation_loss", "Mean over all homes' validation in that round"),
    FleetMetric("fedhome_round_validation_score", "The same of the score; higher is better"),
    FleetMetric("fedhome_round_homes", "Homes in the last round, by what they did", ("did",)),
    FleetMetric("fedhome_round_bytes", "Bytes of all homes in the last round", ("direction",)),
    FleetMetric("fedhome_round_seconds", "How long the last round took", ("part",)),
)
"""All metrics, in the order in which they are documented and told."""


def metrics_text(content: PageContent) -> bytes:
    """Return a server's numbers as Prometheus reads them.

    What is not known is left out, and not told as zero: where the front does not answer, there
    is ``fedhome_up`` with 0 and what lies in files.

    Args:
        content: What there is to see of the server.
    """
    registry = CollectorRegistry()
    registry.register(_Told(content))
    return generate_latest(registry)


class _Told(Collector):
    """What is known of a server, as gauges."""

    def __init__(self, content: PageContent) -> None:
        self._samples = dict(_samples(content))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for metric in METRICS:
            gauge = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
            for labels, value in self._samples.get(metric.name, ()):
                gauge.add_metric(labels, value)
            if gauge.samples:
                yield gauge


def _samples(content: PageContent) -> Iterator[tuple[str, list[Sample]]]:
    """Yield each metric that is known, with its labels' values and its value."""
    status = content.status
    ups = {"page": True, "front": status is not None and status.front}
    ups["superlink"] = status is not None and status.link
    yield "fedhome_up", [((name,), float(up)) for name, up in ups.items()]
    if status is not None:
        yield "fedhome_faults", _one(len(content.all_faults))
        yield from _of_fleet(status)
        if status.run is not None:
            yield from _of_run(status.run)
    if content.releases:
        last = content.releases[-1].manifest
        yield "fedhome_release_number", _one(last.number)
        yield "fedhome_release_timestamp_seconds", _one(last.time)
    if content.events:
        yield from _of_log(content)
    if content.rounds:
        yield from _of_round(content.rounds[-1])


def _of_fleet(status: ServerStatus) -> Iterator[tuple[str, list[Sample]]]:
    yield "fedhome_info", [((status.version, status.fleet), 1.0)]
    yield "fedhome_homes", _one(status.homes)
    if status.connected is not None:
        yield "fedhome_homes_connected", _one(len(status.connected))
    yield "fedhome_homes_left_out", _one(len(status.left_out))
    refusing = [*status.refusing, *(status.run.refusing if status.run else ())]
    counts = Counter((one.question or "connect", one.reason) for one in refusing)
    yield "fedhome_homes_refusing", [(key, float(homes)) for key, homes in sorted(counts.items())]
    yield "fedhome_enrolments_waiting", _one(status.pending)
    yield "fedhome_certificate_days_left", _one(status.certificate_days)
    if status.epoch:
        yield "fedhome_directory_days_left", _one(status.directory_days)


def _of_run(run: RunStatus) -> Iterator[tuple[str, list[Sample]]]:
    yield "fedhome_run_state", [((name,), float(name == run.state)) for name in RUN_STATES]
    yield "fedhome_run_waiting", _one(bool(run.waits))
    yield "fedhome_run_round", _one(run.round)
    yield "fedhome_run_rounds", _one(run.rounds)


def _of_log(content: PageContent) -> Iterator[tuple[str, list[Sample]]]:
    kinds = Counter(event.event for event in content.events)
    last = content.events[-1].time.timestamp()
    yield "fedhome_run_last_event_timestamp_seconds", _one(last)
    yield "fedhome_run_failed_rounds", _one(kinds["round-failed"])
    yield "fedhome_run_dropped_replies", _one(kinds["reply-dropped"])
    spent = [event.data.get("epsilon") for event in content.events if event.event == SPENT]
    if spent:
        yield "fedhome_run_privacy_epsilon", _one(spent[-1])


def _of_round(row: Mapping[str, Any]) -> Iterator[tuple[str, list[Sample]]]:
    for name in ("train_loss", "validation_loss", "validation_score"):
        yield f"fedhome_round_{name}", _one(row[name])
    groups: Sequence[tuple[str, str, Iterable[str]]] = (
        ("fedhome_round_homes", "homes", ("asked", "answered", "dropped", "late")),
        ("fedhome_round_bytes", "bytes", ("up", "down")),
        ("fedhome_round_seconds", "seconds", ("train", "evaluate", "other")),
    )
    for metric, prefix, parts in groups:
        yield (
            metric,
            [((part,), value) for part in parts for _, value in _one(row[f"{prefix}_{part}"])],
        )


def _one(value: object) -> list[Sample]:
    """Return a value without labels; nothing where it was not measured."""
    if not isinstance(value, bool | int | float) or not math.isfinite(value):
        return []
    return [((), float(value))]
