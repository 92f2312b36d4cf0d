"""The plan of the house: one module for a file, one meaning for a name, rooms that all can find."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "fedhome"
LINKED = ("clients", "server", "simulations")


def sources() -> Iterator[tuple[str, Path]]:
    """Yield every module of the package by its import name."""
    folders = [PACKAGE, *(ROOT / name for name in LINKED)]
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if folder == PACKAGE and len(parts) > 2 and parts[1] in LINKED:
                continue  # the link's side of a file that the folder itself yields
            names = [part for part in parts if part != "__init__"]
            yield ".".join(names if folder == PACKAGE else ["fedhome", *names]), path


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports, also ``package.name`` of each name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_the_three_folders_are_links_into_the_package() -> None:
    for name in LINKED:
        link = PACKAGE / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name


def _is_command(module: str, path: Path) -> bool:
    """Return whether a module is run by its name: `fedhome NAME`, `python -m …benchmarks.NAME`."""
    rooms = module.split(".")[1:-1]
    run = 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    return rooms[:1] == ["cli"] or (rooms == ["simulations", "benchmarks"] and run)


def test_no_two_modules_have_one_name_unless_one_is_the_others_face() -> None:
    by_name: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for module, path in sources():
        if not _is_command(module, path):  # a command's file has the command's name
            by_name[module.rpartition(".")[2]].append((module, path))
    doubles = {
        name: [module for module, _ in found]
        for name, found in by_name.items()
        if len(found) > 1
        and not any(
            imported == other or imported.startswith(f"{other}.")
            for module, path in found
            for other, _ in found
            if other != module
            for imported in imports(path)
        )
    }
    assert doubles == {}


def test_no_two_public_classes_have_one_name() -> None:
    by_name: dict[str, list[str]] = defaultdict(list)
    for module, path in sources():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                by_name[node.name].append(module)
    assert {name: found for name, found in by_name.items() if len(found) > 1} == {}


def test_nothing_else_touches_the_import_path() -> None:
    allowed = {
        # Worker processes begin with the path of the process that made them.
        "fedhome.simulations.engines.ray_engine",
        "fedhome.simulations.engines.ray_worker",
        "fedhome.simulations.secure.worker_parties",
        # While a user's file is imported, what lies beside it can be; then all is as it was.
        "fedhome.own_code",
    }
    touching = {
        module for module, path in sources() if "sys.path" in path.read_text(encoding="utf-8")
    }
    assert touching == allowed
