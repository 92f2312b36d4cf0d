"""``fedhome model``: the fleet's models, every release of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli.console import Console, say
from fedhome.cli.group import Group
from fedhome.cli.json_models import ChainShown, entry_of, release_shown
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.model_export import export_
from fedhome.cli.model_promotion import promote
from fedhome.cli.model_slice import slice_
from fedhome.cli.model_slices import slices
from fedhome.cli.model_tier import tier
from fedhome.cli.opened_registry import (
    USUAL,
    KeyFile,
    RegistryFolder,
    opened_registry,
)
from fedhome.cli.passphrases import PassphraseFile, passphrase_of
from fedhome.cli.row_blocks import print_facts, print_rows
from fedhome.counted import counted
from fedhome.errors import RegistryError
from fedhome.fleet.entries import Anchor
from fedhome.fleet.owner_folder import ANCHOR
from fedhome.fleet.server_secret import server_keys
from fedhome.keys.signing import ServerKeys
from fedhome.registry import FORMATS, Registry, Release
from fedhome.registry.formats import SHARE
from fedhome.registry.run_origin import release_of_run
from fedhome.registry.vault import INDEX
from fedhome.registry.verify import Report
from fedhome.run.folder import RunFolder
from fedhome.secagg.directory import Directory
from fedhome.store import disk

app = typer.Typer(cls=Group, no_args_is_help=True)
app.command()(promote)
app.command("export")(export_)
app.command("slice")(slice_)
app.command()(slices)
app.command()(tier)

_DIGITS = 12  # of a hash, as it is shown
_Release = Annotated[
    str,
    typer.Argument(
        help="A round, the first 8 or more digits of a hash, or latest.", metavar="RELEASE"
    ),
]
_Server = Annotated[
    Path | None,
    typer.Option(
        "--server",
        help="The server's folder of the fleet: its key signs.",
        metavar="DIR",
        show_default="the registry's own key",
    ),
]


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN")],
    registry: Annotated[
        Path,
        typer.Argument(help="The registry's folder; made if it is not there.", metavar="REGISTRY"),
    ] = USUAL,
    *,
    storage: Annotated[str, typer.Option(help=f"{', '.join(FORMATS)}.")] = FORMATS[0],
    share: Annotated[float, typer.Option(help="Share that sparse-int8 keeps.")] = SHARE,
    server: _Server = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Publish the model of a finished run as the next release.

    Without --server, a new registry signs with a key of its own: for trials, as no fleet's
    directory names it.
    """
    from fedhome.server.report.tier_scores import release_scores  # noqa: PLC0415 - arrow

    opened_run = RunFolder.open(run)
    draft = release_of_run(
        opened_run, storage=storage, share=share, scores=release_scores(opened_run)
    )
    keys = _keys(server)
    console = Console()
    if (registry / INDEX).exists():
        opened = opened_registry(registry, key_file, passphrase_file)
    else:
        opened = Registry.create(
            registry,
            fleet=_anchor(server / ANCHOR).fleet if server is not None else None,
            server=keys.public if keys is not None else None,
            passphrase=passphrase_of(passphrase_file) if passphrase_file is not None else None,
            key_file=key_file,
        )
        whose = "signed by the fleet's server" if keys else "signed by itself, for trials"
        say(console, f"made the registry {registry}, {whose}")
    release = opened.publish(draft, keys)
    fidelity = release.manifest.fidelity
    say(
        console,
        f"release {release.number}: round {release.manifest.round} of {release.manifest.run}, "
        f"{release.hash.hex()[:_DIGITS]}, {fidelity.size} bytes of {fidelity.whole}, "
        f"largest error {fidelity.max_error:.3g}",
    )


@app.command("list")
def list_(
    registry: RegistryFolder = USUAL,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """List the releases, the newest last."""
    opened = opened_registry(registry, key_file, passphrase_file)
    if as_json:
        print_json([entry_of(release) for release in opened.releases()])
        return
    table = Table(show_edge=False, header_style="bold")
    for name in ("release", "round"):
        table.add_column(name, justify="right")
    for name in ("run", "hash", "published (UTC)"):
        table.add_column(name, overflow="fold")
    table.add_column("homes", justify="right")
    table.add_column("storage")
    table.add_column("bytes", justify="right")
    table.add_column("note", overflow="fold")
    for release in opened.releases():
        manifest = release.manifest
        table.add_row(
            str(release.number),
            str(manifest.round),
            escape(manifest.run),
            release.hash.hex()[:_DIGITS],
            _time(manifest.time),
            str(manifest.homes),
            manifest.storage,
            str(manifest.fidelity.size),
            ", ".join(_notes(release)),
        )
    print_rows(Console(), table)


@app.command()
def show(
    release: _Release,
    registry: RegistryFolder = USUAL,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show all that a release says, and its layout.

    RELEASE, here and elsewhere, is a round (of the newest release that has it), the first 8 or
    more digits of a hash, or latest.
    """
    opened = opened_registry(registry, key_file, passphrase_file)
    chosen = opened.find(release)
    if as_json:
        print_json(release_shown(chosen, opened.load(chosen) if chosen.kept else None))
        return
    manifest, fidelity = chosen.manifest, chosen.manifest.fidelity
    private = "no noise was added"
    for one in manifest.privacy:
        private = f"{one.mechanism}: noise {one.noise:g}, ε {one.epsilon:g} at δ {one.delta:g}"
    scores = manifest.scores[0].told if manifest.scores else "not known"
    rows = {
        "hash": chosen.hash.hex(),
        "release before": manifest.previous.hex() if chosen.number > 1 else "none",
        "published": f"{_time(manifest.time)} UTC",
        "run": f"{manifest.run}, {manifest.run_hash.hex()[:_DIGITS]}",
        "round": str(manifest.round),
        "plan": f"{manifest.plan}, {manifest.plan_hash.hex()[:_DIGITS]}",
        "homes in the sum": str(manifest.homes),
        "privacy": private,
        "slices": manifest.slices[0].told
        if manifest.slices
        else "none: each home had all of it, or it is older",
        **({"scores of slices": scores} if manifest.slices else {}),
        **({"learnt": "a series as its changes"} if manifest.learns else {}),
        "storage": f"{manifest.storage}: {fidelity.size} bytes, {fidelity.whole} in float32",
        "lost in storage": f"{fidelity.rmse:.3g} of a parameter (root mean square), at most "
        f"{fidelity.max_error:.3g}",
        "share kept": f"{fidelity.share:.1%}",
        "payload": manifest.payload.hex(),
        "layout": manifest.layout.hex(),
        "note": ", ".join(_notes(chosen)) or "none",
    }
    if chosen.kept:
        model = opened.load(chosen)
        pairs = zip(model.layout.names, model.layout.shapes, strict=True)
        rows["parameters"] = "\n".join(f"{name} {list(shape)}" for name, shape in pairs)
    print_facts(Console(), f"release {chosen.number} of fleet {manifest.fleet.hex()}", rows)


@app.command()
def verify(
    registry: RegistryFolder = USUAL,
    directory: Annotated[
        Path | None,
        typer.Option(help="The fleet's directory.fh, to compare with.", metavar="FILE"),
    ] = None,
    anchor: Annotated[
        Path | None,
        typer.Option(
            help="The fleet's fleet.pub.", metavar="FILE", show_default="beside the directory"
        ),
    ] = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Check the whole chain: files, hashes, signatures, order, layouts.

    With --directory, check also that the server that signed is the one the directory names.
    """
    opened = opened_registry(registry, key_file, passphrase_file)
    console = Console()
    report = opened.verify()
    faults = [fault.message for fault in report.faults]
    if directory is not None:
        root = _anchor(anchor or directory.with_name(ANCHOR)).root
        named = Directory.verify(disk.read(directory), root)
        if (named.server, named.fleet) != (opened.server, opened.fleet):
            faults.append("the fleet's directory names another server or fleet")
    elif opened.signs and not as_json:
        say(console, "signed by the registry itself, for trials: no directory names its key")
    if as_json:
        left = [str(path) for path in report.leftovers]
        print_json(
            ChainShown(
                releases=report.releases, models=report.models, faults=faults, leftovers=left
            )
        )
    else:
        _say_report(console, report, faults)
    if faults:
        raise RegistryError(
            f"{registry} does not hold",
            reason="faults",
            hint="bring it back from a backup; homes refuse what is not sound",
        )


def _say_report(console: Console, report: Report, faults: list[str]) -> None:
    for message in faults:
        say(console, f"fault: {message}")
    for path in report.leftovers:
        say(console, f"left by a crash, and no release: {path}; `fedhome model prune` removes it")
    say(
        console,
        f"{counted(report.releases, 'release')}, {counted(report.models, 'model')} read, "
        f"{len(faults) or 'no'} "
        f"fault{'' if len(faults) == 1 else 's'}",
    )


@app.command()
def rollback(
    release: _Release,
    registry: RegistryFolder = USUAL,
    server: _Server = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Publish an older model once more, as the next release."""
    made = opened_registry(registry, key_file, passphrase_file).rollback(release, _keys(server))
    say(
        Console(),
        f"release {made.number} gives the model of release {made.manifest.restores}: "
        f"{made.hash.hex()[:_DIGITS]}",
    )


@app.command()
def pin(
    release: _Release,
    registry: RegistryFolder = USUAL,
    remove: Annotated[bool, typer.Option("--remove", help="Let it go again.")] = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Keep a release's model, however old it gets; with --remove, let it go again."""
    pinned_release = opened_registry(registry, key_file, passphrase_file).pin(
        release, pinned=not remove
    )
    stays = "goes when it is old" if remove else "stays"
    say(Console(), f"the model of release {pinned_release.number} {stays}")


@app.command()
def prune(
    keep: Annotated[int, typer.Option(help="Newest releases whose models stay.", min=1)],
    registry: RegistryFolder = USUAL,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Remove old models; pinned ones stay, and those that a kept release goes back to."""
    gone = opened_registry(registry, key_file, passphrase_file).prune(keep)
    say(Console(), f"removed {counted(len(gone), 'model')}: {', '.join(map(str, gone)) or 'none'}")


@app.command()
def rotate(
    registry: RegistryFolder = USUAL,
    *,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    new_key_file: Annotated[
        Path | None, typer.Option(help="Where the new key lies.", metavar="FILE")
    ] = None,
    to_passphrase: Annotated[
        bool, typer.Option("--to-passphrase", help="A passphrase, typed, opens it from now on.")
    ] = False,
    new_passphrase_file: Annotated[
        Path | None, typer.Option(help="As --to-passphrase, read from FILE.", metavar="FILE")
    ] = None,
) -> None:
    """Change the registry's key; the releases' files stay as they are.

    Without an option, a new key takes the place of the one in the key file.
    """
    opened = opened_registry(registry, key_file, passphrase_file)
    passphrase = None
    if to_passphrase or new_passphrase_file is not None:
        passphrase = passphrase_of(new_passphrase_file, new=True)
    opened.rotate(passphrase=passphrase, key_file=new_key_file)
    say(Console(), f"the key of {registry} is a new one; backups made before need the old one")


def _keys(server: Path | None) -> ServerKeys | None:
    return None if server is None else server_keys(server)


def _anchor(path: Path) -> Anchor:
    return Anchor.from_text(disk.read(path).decode(errors="replace").strip())


def _notes(release: Release) -> list[str]:
    notes = []
    if release.manifest.restores:
        notes.append(f"back to release {release.manifest.restores}")
    if release.pinned:
        notes.append("pinned")
    if not release.kept:
        notes.append("model removed")
    return notes


def _time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"
