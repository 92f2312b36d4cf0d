"""A clock that is set is noticed, and one that runs is not."""

from __future__ import annotations

from fedhome.ops.clock_steps import ClockSteps


def test_a_clock_that_is_set_is_noticed_once() -> None:
    now = {"wall": 1000.0, "steady": 5.0}
    steps = ClockSteps(lambda: now["wall"], lambda: now["steady"])

    def pass_s(wall: float, steady: float) -> float:
        now["wall"] += wall
        now["steady"] += steady
        return steps.look()

    assert pass_s(7200.0, 7200.0) == 0.0, "time passes"
    assert pass_s(-3599.0, 1.0) == -3600.0
    assert pass_s(1.0, 1.0) == 0.0, "it was told"
    assert pass_s(86_400.0, 0.0) == 86_400.0, "a machine that slept"
    assert pass_s(1.5, 1.0) == 0.0, "the network sets a clock by little"
