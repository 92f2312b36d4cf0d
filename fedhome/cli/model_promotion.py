"""``fedhome model promote``: what a run ended with becomes the release that homes use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fedhome.cli.console import Console
from fedhome.errors import RunError
from fedhome.registry.run_origin import release_of_run

_DIGITS = 12  # of a hash, as it is shown


def promote(
    run: Annotated[str, typer.Argument(help="Name of a run of the server.", metavar="RUN")],
    *,
    folder: Annotated[
        Path,
        typer.Option("--server", help="The server's folder.", metavar="DIR", show_default="here"),
    ] = Path(),
) -> None:
    """Let homes use what a run ended with, whatever their validation said.

    A run does so by itself where the homes' validation says that its result is not worse than the
    release in use. A model that was replaced comes back in the same way.
    """
    from fedhome.server.daemon.current_run import Runs  # noqa: PLC0415 - found only at run time
    from fedhome.server.daemon.publishing import (  # noqa: PLC0415
        MODELS,
        keep_loss,
        registry_of,
    )
    from fedhome.server.daemon.publishing import promote as put_first  # noqa: PLC0415
    from fedhome.server.daemon.server_folder import ServerFolder  # noqa: PLC0415
    from fedhome.server.report.tier_scores import release_scores  # noqa: PLC0415

    server_folder = ServerFolder(folder)
    keys, chosen = server_folder.keys(), Runs(server_folder).existing(run)
    if not chosen.model_path.exists():
        raise RunError(
            f"the rounds of {run} are not done: there is no result to promote",
            hint=f"go on with it: `fedhome server run --resume {run} --server {folder}`",
        )
    registry = registry_of(server_folder.path / MODELS, fleet=server_folder.anchor.fleet, keys=keys)
    before = registry.releases()
    draft = release_of_run(chosen, ended=False, scores=release_scores(chosen))
    losses = chosen.read_rounds().column("validation_loss").to_pylist()
    keep_loss(registry.folder, draft, losses[-1] if losses else None)
    release = put_first(registry, draft, keys)
    what = f"round {release.manifest.round} of {release.manifest.run}"
    if before and before[-1].number == release.number:
        text = f"release {release.number}, {what}, is in use already"
    else:
        text = (
            f"release {release.number}: {what}, {release.hash.hex()[:_DIGITS]}; homes take it "
            "within minutes"
        )
    Console().print(escape(text), highlight=False, soft_wrap=True)
