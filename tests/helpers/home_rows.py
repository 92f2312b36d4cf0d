"""A row of a run's table of homes."""

from __future__ import annotations


def home_row(home: str, model: str, score: float | None, **changes: object) -> dict[str, object]:
    """Return the row of a home and model; changes go over what else would stand there."""
    row: dict[str, object] = {"home": home, "model": model, "score": score, "loss": 0.1}
    examples = {"examples_train": 6, "examples_validation": 2, "examples_test": 2}
    verdict = "helped" if model == "personalised" else None
    return row | examples | {"verdict": verdict, "expert": "tuned", "best": "local"} | changes
