"""``fedhome pipeline``: a network over several devices of one home."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli.console import Console, say
from fedhome.cli.group import Group
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.json_pipeline import PipelinePlanned
from fedhome.cli.row_blocks import print_rows
from fedhome.errors import PlanError
from fedhome.pipeline.device_table import read_devices
from fedhome.pipeline.split_plan import SplitPart, SplitPlan, split

_TABLE_WIDTH = 60
"""Columns of a screen below which a table would cut its words to pieces."""

app = typer.Typer(cls=Group, no_args_is_help=True)


@app.callback()
def pipeline() -> None:
    """A network over several devices of one home."""


@app.command()
def plan(
    devices: Annotated[Path, typer.Argument(help="The home's devices (TOML).", metavar="DEVICES")],
    *,
    model: Annotated[
        str, typer.Option(help="Folder of a run; or widths from input to output, as 23-64-64-1.")
    ],
    rows: Annotated[int, typer.Option(help="Rows computed at once.", min=1)] = 1,
    train: Annotated[bool, typer.Option("--train", help="To train, not only predict.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show which layers would lie on which device, and what a prediction would take."""
    found = split(_widths(model), read_devices(devices), rows=rows, trains=train)
    if as_json:
        print_json(PipelinePlanned.of(found))
        return
    console = Console()
    if console.width < _TABLE_WIDTH:
        for part in found.parts:
            console.print(escape(_line(found, part)), highlight=False)
    else:
        print_rows(console, _table(found))
    for line in _told(found):
        say(console, line, wrapped=True)


@app.command()
def keys(
    folder: Annotated[Path, typer.Argument(help="Where to.", metavar="FOLDER")],
    names: Annotated[
        list[str], typer.Argument(help="Names and addresses of the devices.", metavar="NAMES...")
    ],
) -> None:
    """Make the home's own keys, by which its devices know each other."""
    from fedhome.pipeline.home_keys_folder import TOKEN, make_keys  # noqa: PLC0415 - cryptography

    make_keys(folder, names)
    Console(soft_wrap=True).print(
        f"made {folder}: copy ca.pem, certificate.pem, key.pem and {TOKEN} to each device, over a "
        "way that nobody else reads. ca.key stays here",
        highlight=False,
    )


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(help="The home's keys.", metavar="FOLDER")],
    *,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any.", min=0, max=65535)] = 7077,
    memory: Annotated[int, typer.Option(help="Bytes for a part.", min=1)] = 1 << 26,
) -> None:
    """Let the home's other devices put a part of a network here, until it is stopped."""
    from fedhome.pipeline.part_server import PartServer  # noqa: PLC0415 - cryptography

    try:
        server = PartServer(folder, host=host, port=port, memory_bytes=memory)
    except OSError as error:
        raise PlanError(
            [f"nothing can listen at {host}:{port}: {error.strerror}"], hint="name another port"
        ) from None
    with server:
        sys.stdout.write(f"listening at {host}:{server.port}\n")
        sys.stdout.flush()
        server.serve_forever()


def _widths(model: str) -> tuple[int, ...]:
    """Return the widths that were typed, or those of a run's model.

    Raises:
        PlanError: Neither.
        FedHomeError: The run has no model that can be split.
    """
    parts = model.split("-")
    if len(parts) > 1 and all(part.isdecimal() and int(part) for part in parts):
        return tuple(map(int, parts))
    if not Path(model).is_dir():
        raise PlanError(
            [f"--model {model!r} is neither a folder of a run nor widths such as 23-64-64-1"],
            where="the command",
            hint="name the folder that `fedhome simulate` made, such as runs/default-1, or inputs, "
            "layers and outputs with a - between",
        )
    from fedhome.pipeline.layer_slice import layers_of, widths_of  # noqa: PLC0415 - numpy
    from fedhome.run.folder import RunFolder  # noqa: PLC0415 - the same

    return widths_of(layers_of(RunFolder.open(Path(model)).read_model().parameters))


def _line(found: SplitPlan, part: SplitPart) -> str:
    return (
        f"{part.device.name}: layers {_layers(found, part)}, {part.memory_bytes:,} bytes, "
        f"{part.compute_us:,.1f} µs there, {part.travel_us:,.1f} µs on the way"
    )


def _layers(found: SplitPlan, part: SplitPart) -> str:
    return "-".join(map(str, found.widths[part.first : part.end + 1]))


def _table(found: SplitPlan) -> Table:
    table = Table()
    for name in ("device", "layers", "bytes", "µs there", "µs on the way"):
        table.add_column(name, justify="left" if name in {"device", "layers"} else "right")
    for part in found.parts:
        table.add_row(
            escape(part.device.name),
            _layers(found, part),
            f"{part.memory_bytes:,}",
            f"{part.compute_us:,.1f}",
            f"{part.travel_us:,.1f}",
        )
    return table


def _told(found: SplitPlan) -> list[str]:
    travel = sum(part.travel_us for part in found.parts)
    lines = [f"one row: {found.row_us:,.1f} µs, of which {travel:,.1f} on the way"]
    if len(found.parts) == 1:
        lines.append(
            f"{found.parts[0].device.name} carries the whole network: a pipeline would only cost"
        )
    elif travel > found.row_us / 2:
        lines.append(
            "most of that is the home's network: a slice that fits one device answers sooner "
            "(fedhome model slice)"
        )
    return lines
