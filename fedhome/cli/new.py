"""``fedhome new``: a small project of one's own on the installed framework, or a method."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer

from fedhome.cli.console import Console
from fedhome.errors import RunError
from fedhome.new_folders import make_folder

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
_METHOD_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_LONGEST_NAME: Final = 48
_TEMPLATES = Path(__file__).parent / "templates"
_FILES = {
    "plan.toml": "plan.toml",
    "model.py": "model.py",
    "method.py": "method.py",
    "strategy.py": "strategy.py",
    "test_app.py": "test_app.py",
    # Under their own names these three would be taken for this package's.
    "readme": "README.md",
    "pyproject": "pyproject.toml",
    "gitignore": ".gitignore",
}
_METHOD = "method"


def new(
    what: Annotated[
        str, typer.Argument(help="The folder to make, or the word method.", metavar="DIR|method")
    ],
    name: Annotated[
        str, typer.Argument(help="What the method is called, such as slow-start.", metavar="[NAME]")
    ] = "",
) -> None:
    """Make a small app: a plan, a model, a method, a strategy and their test.

    `fedhome` and `flwr run` both run it. `fedhome new method NAME` writes a method alone, and its
    test, into the current folder.

    Raises:
        RunError: The folder exists and is not empty, a file exists, or the name cannot be one or
            is taken.
    """
    if what == _METHOD:
        _write_method(name)
    elif name:
        raise RunError(
            f"there is no new {what!r} with a name",
            hint="`fedhome new DIR` makes an app, `fedhome new method NAME` a method",
        )
    else:
        _write_app(Path(what))


def _write_app(folder: Path) -> None:
    name = folder.resolve().name
    if not _NAME.fullmatch(name):
        raise RunError(
            f"{name!r} cannot be the name of an app",
            hint="Flower demands a letter, then letters, digits and hyphens, 32 at most",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists and is not empty", hint="name a folder that is not there")
    words = {"{name}": name, "{version}": version("fedhome")}
    for template, file in _FILES.items():
        _write(_TEMPLATES / "app" / template, folder / file, words)
    Console().print(f"made {folder}: `cd {folder} && fedhome simulate plan.toml`", highlight=False)


def _write_method(name: str) -> None:
    if not name:
        raise RunError(
            "a method needs a name: `fedhome new method NAME`",
            hint="an app in a folder that is called method: `fedhome new ./method`",
        )
    module = name.replace("-", "_")
    if not _METHOD_NAME.fullmatch(name) or len(name) > _LONGEST_NAME or keyword.iskeyword(module):
        raise RunError(
            f"{name!r} cannot be the name of a method",
            hint="small letters and digits, with hyphens between words, such as slow-start",
        )
    _check_free(name, module)
    words = {
        "NewMethod": "".join(word.title() for word in module.split("_")),
        "new_method": module,
    }
    files = {"method.py": Path(f"{module}.py"), "test_method.py": Path(f"test_{module}.py")}
    if there := [str(file) for file in files.values() if file.exists()]:
        raise RunError(
            f"{' and '.join(there)} exist{'s' if len(there) == 1 else ''} already",
            hint="take another name, or another folder",
        )
    for template, file in files.items():
        _write(_TEMPLATES / "method" / template, file, words)
    file, test = files.values()
    Console().print(
        f"made {file} and {test}: `pytest {test}`, and\n"
        f"`fedhome simulate --set method.name={file}:{words['NewMethod']}`",
        highlight=False,
        soft_wrap=True,
    )


def _check_free(name: str, module: str) -> None:
    """Refuse a name that is of something else already, in plans or for Python.

    Raises:
        RunError: It is.
    """
    from fedhome.learning.methods import METHODS  # noqa: PLC0415 - for its use alone

    of = ""
    if known := {module.replace("_", "-"), module.replace("_", "")} & METHODS.keys():
        of = f'a method of fedhome\'s, as `method.name = "{known.pop()}"`'
    elif module in sys.stdlib_module_names:
        of = f"a module of Python's, which {module}.py would stand in front of"
    if of:
        raise RunError(
            f"{name!r} is the name of {of}", hint="take a name of its own, such as slow-start"
        )


def _write(template: Path, file: Path, words: Mapping[str, str]) -> None:
    text = template.read_text(encoding="utf-8")
    for word, meant in words.items():
        text = text.replace(word, meant)
    try:
        make_folder(file.parent)
        file.touch(exist_ok=False)  # through no link that lies there already
    except OSError as error:
        raise _unwritten(file, error) from None
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        raise _unwritten(file, error) from None


def _unwritten(file: Path, error: OSError) -> RunError:
    return RunError(
        f"{file} cannot be written: {error.strerror}",
        hint="make room, or choose a folder that this account may write into; then take away "
        "what is there of it, and type it again",
    )
