"""kNN-Per: Marfoq et al., ICML 2022, arXiv:2111.09360, section 3.

Nothing is trained after the rounds. Each home remembers its own rows as the fleet's network sees
them, that is what the last layer is given, and mixes what the nearest of them were with what the
network says. The share of the memory is the home's own: of 0, 0.1, ..., 1 what errs least on its
validation rows. For test rows it remembers these as well.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.learning.cohort import Cohort, PartRows
from fedhome.learning.fitted import InputRows, Neighbours, Perceptron
from fedhome.learning.personalise.expert_statements import ExpertStatements, Statements
from fedhome.learning.personalise.experts import Experts, OwnStatements
from fedhome.learning.tasks.segments import Floats
from fedhome.learning.tasks.statements import finite_or
from fedhome.plan.settings import PersonaliseSettings

SHARES: Final = tuple(share / 10 for share in range(11))
"""Shares of the memory that a home tries."""

_MOST_ROWS = 1 << 14  # remembered rows lie in a home's model
_log = logging.getLogger("fedhome.learning")


class KnnPer(OwnStatements):
    """A personaliser that remembers rows instead of training."""

    def trial(
        self, cohort: Cohort, start: NDArray[np.float32], settings: PersonaliseSettings
    ) -> NDArray[np.float64]:
        """Return that no pass changes anything: float64 ``[homes, rates, 1 + epochs]``, all 1."""
        del start
        return np.ones((len(cohort.homes), len(settings.rates), 1 + settings.epochs))

    def adapt(
        self, cohort: Cohort, start: NDArray[np.float32], *, rate: float, epochs: int, part: Part
    ) -> NDArray[np.float32]:
        """Return the network as it came, ``[homes, size]``."""
        del rate, epochs, part
        return np.broadcast_to(start, (len(cohort.homes), start.shape[-1]))

    def said(self, experts: Experts) -> ExpertStatements:
        """Return what memory and network state together, refitted where asked."""
        cohort, used = experts.cohort, experts.used()
        params = np.broadcast_to(used, (len(cohort.homes), used.shape[-1]))
        parts: tuple[Part, ...] = ("train", "validation", "test")
        rows = zip(*(cohort.rows(part).each() for part in parts), strict=True)
        with np.errstate(all="ignore"):  # of a network that diverged
            found = [
                _fitted(experts, home, cohort.learning.layout.unflatten(own), each)
                for home, own, each in zip(cohort.homes, params, rows, strict=True)
            ]
        models = [one for _, one in found]
        kept = zip(models, cohort.keeps(), strict=True)
        naive, stated = experts.naive(), zip(*(one for one, _ in found), strict=True)
        return ExpertStatements(
            Statements(
                *(finite_or(np.concatenate(p), n) for p, n in zip(stated, naive, strict=True))
            ),
            [one if keeps else None for one, keeps in kept],
        )


def _fitted(
    experts: Experts,
    home: str,
    layers: Mapping[str, NDArray[np.float32]],
    rows: tuple[PartRows, ...],
) -> tuple[Statements, Neighbours]:
    """Return what one home states, and its model."""
    network = Perceptron.in_order(layers)
    train, validation, test = rows
    truth = [
        experts.encoding.truth(part.y, experts.cohort.learning.task.outputs) for part in rows[:2]
    ]
    model = Neighbours(
        network=network,
        **_memory(home, [network.hidden(train.x)], truth[:1]),
        share=0.0,
        targets=experts.cohort.learning.task.kind.targets,
    )
    hidden = network.hidden(validation.x)
    own = experts.encoding.stated(network.last(hidden).astype(np.float64))
    remembered = model.remembered(hidden)
    errors = [np.mean((share * remembered + (1 - share) * own - truth[1]) ** 2) for share in SHARES]
    model = replace(model, share=SHARES[int(np.argmin(errors))])
    before = _state(experts, model, validation)
    if experts.settings.refit:
        model = replace(model, **_memory(home, [model.held, hidden], truth))
    return Statements(before, _state(experts, model, test)), model


def _state(experts: Experts, model: Neighbours, rows: PartRows) -> Floats:
    asked = InputRows(rows.x, np.zeros(len(rows.x)), np.empty((len(rows.x), 0)))
    return experts.encoding.stated(model.state(asked))


def _memory(
    home: str, held: Sequence[NDArray[np.float32]], truth: Sequence[Floats]
) -> dict[str, Any]:
    rows, said = np.concatenate(held), np.concatenate(truth).astype(np.float32)
    if len(rows) > _MOST_ROWS:
        _log.warning(
            "home %s remembers its newest %d rows, of %d: more would fill its model's file",
            home,
            _MOST_ROWS,
            len(rows),
        )
    return {"held": rows[-_MOST_ROWS:], "truth": said[-_MOST_ROWS:]}
