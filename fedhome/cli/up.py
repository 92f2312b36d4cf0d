"""``fedhome up``: server and homes as real processes on this machine, for trying."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.markup import escape

from fedhome.cli.console import Console, say
from fedhome.cli.plan_options import DataOption, PlanArgument, SetsOption
from fedhome.cli.simulate import resolve
from fedhome.ops.processes import end_on_sigterm
from fedhome.run.progress import OnEvent, progress_on
from fedhome.run.summary import check_learnt, print_summary

if TYPE_CHECKING:
    from fedhome.run.events import Event


def up(
    plan: PlanArgument = None,
    homes: Annotated[
        int | None,
        typer.Option(
            help="Number of homes, a process each.",
            min=2,
            show_default="5 synthetic ones, or up to 8 of DATA",
        ),
    ] = None,
    sets: SetsOption = None,
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.", metavar="runs/NAME")
    ] = None,
) -> None:
    """Run a plan with a server and homes that are processes of their own, on this machine.

    Keys, directory, TLS and secure sums are those of a real fleet; the run gives the weights
    that `fedhome simulate` gives. Everything ends with the command.
    """
    resolved = resolve(plan, data, list(sets or []))
    from fedhome.simulations import local_fleet  # noqa: PLC0415 - after the plan is known to hold

    end_on_sigterm()
    console = Console()
    with _Screen(console) as screen:
        folder = local_fleet.up(
            resolved, homes=homes, out=out, say=screen.say, note=screen.note, show=screen.show
        )
    print_summary(console, folder)
    check_learnt(folder)


class _Screen:
    """What is waited for, then the run's progress: a spinner and a bar, or plain lines.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = ExitStack()
        self._watch: OnEvent | None = None
        self._spinner = console.status("") if console.is_terminal else None

    def say(self, text: str) -> None:
        """Tell what is waited for, until the run's progress is shown."""
        if self._spinner is None:
            self.note(text)
        elif self._watch is None:
            self._spinner.update(escape(text))

    def note(self, text: str) -> None:
        """Print what should stay on the screen."""
        say(self._console, text)

    def show(self, event: Event) -> None:
        """Show an event of the run; its failure is what the command ends with."""
        if event.event == "fleet-ready" and self._watch is None:
            self._shown.close()
            self._watch = self._shown.enter_context(progress_on(self._console))
        if self._watch is not None and event.event != "run-failed":
            self._watch(event)

    def __enter__(self) -> Self:
        if self._spinner is not None:
            self._shown.enter_context(self._spinner)
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()
