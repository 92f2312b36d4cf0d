"""A user's own code: where its files are, how one is imported, and which line of it failed.

A file is imported under a name of its own (``fedhome_own_...``), never under the file's: a
``queue.py`` or a ``server.py`` beside a plan shadows nothing, and nothing shadows it. The modules
beside it can be imported by their names while it is being imported; ``sys.path`` is then as it was.
"""

from __future__ import annotations

import importlib
import linecache
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from fedhome.errors import FedHomeError, PluginError
from fedhome.guarded_code import check_file, is_guarded
from fedhome.spelling import did_you_mean

_PREFIX = "fedhome_own_"
_OURS = __name__.partition(".")[0]
_OTHERS = ("site-packages", "dist-packages")
_FRAMEWORKS = ("flwr", "torch")  # a plan may name their classes: what they raise is no user's fault
_NOT_TAKEN = re.compile(r"([\w.]+)\(\) (?:takes|missing|got) ")
_LONGEST = 120  # letters of a name that an error repeats
_folders: set[Path] = set()
"""Folders of files that were named: what is raised there is their author's to mend."""
_packages: set[str] = set()
"""Modules and packages that were named and are importable: the same holds for them."""
_beside: dict[str, Path] = {}
"""Modules that users' files have imported from beside them, and the folder of each."""
_importing = threading.RLock()


def located(name: str, folders: Sequence[Path]) -> str:
    """Return a name of own code that means the same in every process and folder of this machine.

    ``file.py:Name`` gets the whole path of the file, and so does ``module:Name`` where one of the
    folders holds a ``module.py``. Any other name is returned as it is.

    Args:
        name: As it stands in a plan.
        folders: Where to look, in this order; a file that is in none is taken to be in the first.
            A fleet's process looks in none that is only the current one
            (:mod:`fedhome.guarded_code`).

    Raises:
        PluginError: No file can have such a name, or none that such a process looks for.
    """
    if is_guarded():
        folders = [folder for folder in folders if folder != Path()]
    module, colon, attribute = name.rpartition(":")
    if not colon or not module or not attribute:
        return name
    if module.endswith(".py"):
        return f"{_found(module, folders)}:{attribute}"
    parts = module.split(".")
    if not all(map(str.isidentifier, parts)) or (len(parts) > 1 and find_spec(parts[0])):
        return name
    file = _first(_in_each(folders, Path(*parts).with_suffix(".py")), module)
    return name if file is None else f"{file.resolve()}:{attribute}"


def _found(file: str, folders: Sequence[Path]) -> Path:
    try:
        wanted = Path(file).expanduser()
        if not (folders or wanted.is_absolute()):
            raise PluginError(
                f"{_short(file)} would be looked for in the current folder, from which a home or a "
                "server runs no code",
                hint="name it by its whole path, or install it as a package and name module:Name",
            )
        paths = _in_each(folders or [Path()], wanted)
        return (_first(paths, file) or paths[0]).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL, ~nobody, ...
        why = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise PluginError(
            f"{_short(file)} cannot be a file: {why}",
            hint="name a file beside the plan, or by its whole path, as file.py:Name",
        ) from None


def _in_each(folders: Sequence[Path], file: Path) -> list[Path]:
    """Return the whole path that a file has in each of the folders."""
    try:
        return [(folder / file).absolute() for folder in folders]
    except FileNotFoundError:  # a whole path is there without it
        raise PluginError(
            "the current folder is gone, where own code is looked for",
            hint="go to one that is there (os.chdir, `cd`), or name the code by its whole path",
        ) from None


def _first(paths: Sequence[Path], name: str) -> Path | None:
    """Return the first path that is a file; None: none is."""
    try:
        return next((path for path in paths if path.is_file()), None)
    except OSError as error:
        raise PluginError(
            f"{_short(name)} cannot be a file: {error.strerror}",
            hint="name a file beside the plan, or by its whole path, as file.py:Name",
        ) from None


def _short(name: str) -> str:
    return repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}...")


def module_name(module: str) -> str:
    """Return by what name a plan finds a module that is loaded: its own, or its file's path."""
    return str(sys.modules[module].__file__) if module.startswith(_PREFIX) else module


def imported(module: str, what: str) -> ModuleType:
    """Return a module of a user's.

    Args:
        module: An importable name, or the path of a file that ends in ``.py``.
        what: What it is wanted for, for the error: ``"strategy 'mine.py:Mine'"``.

    Raises:
        PluginError: It is not there, or its own code fails; with that line.
    """
    try:
        found = _of_file(Path(module), what) if module.endswith(".py") else _of_name(module)
    except PluginError:
        raise
    except (Exception, SystemExit) as error:
        if place := _place_of(error):
            raise _fault(f"{what} cannot be imported", place, error) from error
        if not isinstance(error, ImportError | ValueError):
            whole = module if module.endswith(".py") else f"-c 'import {module}'"
            raise PluginError(
                f"{what} cannot be imported: {type(error).__name__}: {error}",
                hint=f"`python {whole}` shows the whole error",
            ) from error
        raise PluginError(
            f"{what} is not found: {error}",
            hint='"module:attribute" is looked for beside the plan, in the current folder, and '
            'among what is installed; a file is named as "file.py:attribute"',
        ) from None
    return found


def call(what: str, function: Callable[..., object], /, *args: object, **kwargs: object) -> object:
    """Call a user's class or function.

    Args:
        what: What it is, for the error: ``"model 'mine.py:Net'"``.
        function: What is called.
        args: Its arguments.
        kwargs: Its arguments by name.

    Raises:
        PluginError: Whatever it raises, with the user's file and line.
    """
    try:
        return function(*args, **kwargs)
    except FedHomeError:
        raise
    except (Exception, SystemExit) as error:
        fault = fault_of(f"{what} fails when it is called", function, error)
        if isinstance(error, TypeError) and _place_of(error) is None and kwargs:
            names = ", ".join(f"{name}=" for name in kwargs)
            fault.hint = f"{fault.hint}; it is called with {names}"
        raise fault from error


def fault_of(what: str, function: Callable[..., object], error: BaseException) -> PluginError:
    """Return the error about what a user's class or function has raised.

    Args:
        what: What happened: ``"model 'mine.py:Net' fails when it is called"``.
        function: What was called: it is pointed at where the error came on the way to it.
        error: What it raised.
    """
    return _fault(what, _place_of(error) or _defined(function), error)


@contextmanager
def faults_told() -> Iterator[None]:
    """Turn what users' code raises in here into an error that names its file and line.

    Raises:
        PluginError: What was raised in a file that a plan has named, or in one beside it.
    """
    try:
        yield
    except FedHomeError:
        raise
    except (Exception, SystemExit) as error:
        if place := _place_of(error) or _called_wrongly(error):
            raise _fault("code of your own fails", place, error) from error
        raise


def kind_told(value: object) -> str:
    """Return what own code gave back, for an error that says what it should have been."""
    return "nothing" if value is None else f"a value of type {type(value).__name__}"


def line_of(error: BaseException) -> str:
    """Return the name of the user's file and the line that raised; empty where none of it did."""
    place = _place_of(error)
    return "" if place is None else f"{Path(place[0]).name}, line {place[1]}"


class _Loader(SourceFileLoader):
    """Compiles a file anew, and leaves nothing beside it."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the file's code as it stands now."""
        del fullname
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _of_name(module: str) -> ModuleType:
    top = module.partition(".")[0]
    if top != _OURS and top not in _FRAMEWORKS:
        _packages.add(top)
    return importlib.import_module(module)


def _of_file(path: Path, what: str) -> ModuleType:
    import hashlib  # noqa: PLC0415 - OpenSSL, which a process without own code does without

    path = path.resolve()
    check_file(path)
    try:
        source = path.read_bytes()
    except OSError as error:
        files = [str(beside) for beside in path.parent.glob("*.py") if beside != path]
        told = f"there is no file {path}{did_you_mean(str(path), files)}"
        if not isinstance(error, FileNotFoundError):
            told = f"{path} is a folder" if path.is_dir() else f"it cannot read the file {path}"
        raise PluginError(
            f"{what} is not found: {told}",
            hint="a file is looked for beside the plan, then in the current folder; on other "
            "machines install own code as a package, and name it as module:attribute",
        ) from None
    name = _PREFIX + hashlib.sha256(str(path).encode() + b"\0" + source).hexdigest()[:16]
    with _importing:
        if name in sys.modules:
            return sys.modules[name]
        _folders.add(path.parent)
        spec = spec_from_loader(name, _Loader(name, str(path)), origin=str(path))
        assert spec is not None
        assert spec.loader is not None
        spec.has_location = True
        module = module_from_spec(spec)
        linecache.checkcache(str(path))
        sys.modules[name] = module  # as dataclasses and pickle expect it
        try:
            with _on_path(path.parent):
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Let a folder's modules be imported; behind all others, so that none of them is shadowed."""
    for name, of in list(_beside.items()):
        if of != folder:  # another user's file has imported its own of this name
            del _beside[name]
            sys.modules.pop(name, None)
    before, entry = set(sys.modules), str(folder)
    sys.path.append(entry)
    try:
        yield
    finally:
        for place in range(len(sys.path) - 1, -1, -1):
            if sys.path[place] is entry:  # this very one: the user may have it there too
                del sys.path[place]
                break
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and not name.startswith(_PREFIX) and _within(Path(file), folder):
                _beside[name] = folder


_Place = tuple[str, int, str]


def _place_of(error: BaseException) -> _Place | None:
    """Return file, line and function of the innermost step that is the user's; None: none is."""
    if isinstance(error, SyntaxError) and error.lineno and _is_own(error.filename or "", ""):
        return str(error.filename), error.lineno, "<module>"
    found: _Place | None = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _is_own(frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))):
            found = frame.f_code.co_filename, line, frame.f_code.co_name
    return found


def _called_wrongly(error: BaseException) -> _Place | None:
    """Return where a user's function is defined that takes other arguments than it was given.

    No step of the error is then the user's: Python names the function, in an error of the caller.
    """
    found = _NOT_TAKEN.match(str(error)) if isinstance(error, TypeError) else None
    if found is None:
        return None
    for module in reversed([*sys.modules.values()]):  # of two files the one that came last
        function: object = module if isinstance(module, ModuleType) else None
        for part in found[1].split("."):
            function = vars(function).get(part) if hasattr(function, "__dict__") else None
        # Whose file it is, is asked of those few alone: that looks at the disk.
        if isinstance(function, FunctionType) and _is_own(
            str(getattr(module, "__file__", "")), module.__name__
        ):
            return _defined(function)
    return None


def _is_own(file: str, module: str) -> bool:
    top = module.partition(".")[0]
    if top in _packages or top.startswith(_PREFIX):
        return True
    # The program that has called us stands above: what it raises in a callback is for itself.
    if top in {_OURS, "__main__"} or not file.endswith(".py"):
        return False
    return any(_within(Path(file), folder) for folder in _folders)


def _within(file: Path, folder: Path) -> bool:
    """Tell whether a file is below a folder; an environment that lies there is not the user's."""
    file = file.resolve()
    return file.is_relative_to(folder) and not set(_OTHERS) & set(file.relative_to(folder).parts)


def _defined(function: Callable[..., Any]) -> _Place | None:
    """Return where something is defined: for an error on the way to it: a wrong argument."""
    made = getattr(function, "__init__", None) if isinstance(function, type) else function
    if not isinstance(made, FunctionType):
        return None
    return made.__code__.co_filename, made.__code__.co_firstlineno, made.__name__


def _fault(what: str, place: _Place | None, error: BaseException) -> PluginError:
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    told = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if place is None:
        return PluginError(f"{what}: {told}", hint="look at how it is defined")
    file, line, function = place
    inside = "" if function == "<module>" else f", in {function}"
    text = linecache.getline(file, line).strip()
    hint = f"that line is: {text}" if text else "the file has changed since it was imported"
    advice = _advice(file, error)
    return PluginError(
        f"{what}: {file}, line {line}{inside}: {told}", hint=f"{hint}; {advice}" if advice else hint
    )


def _advice(file: str, error: BaseException) -> str:
    """Return what is meant to be done about an error that has to do with how files are imported."""
    if isinstance(error, SystemExit):
        return "what ends a program stands under `if __name__ == '__main__':` in a file like this"
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "a file is imported alone: write `import other` for the module other.py beside it"
    if isinstance(error, ModuleNotFoundError) and error.name:
        beside = Path(file).with_name(f"{error.name.partition('.')[0]}.py")
        if beside.is_file():
            return f"{beside.name} lies beside it: import it at the file's top, not in a function"
    return ""
