"""Programs of Triton that are written out as text, as functions that can be called."""

from __future__ import annotations

import importlib.util
import linecache
from typing import Any, Final

MISSING: Final = "Triton is not installed; it comes with PyTorch's builds for CUDA"


def is_installed() -> bool:
    """Whether there is Triton."""
    return importlib.util.find_spec("triton") is not None


def function_of(text: str, name: str, about: str) -> Any:
    """Return a function of Triton's, which is compiled when it is first called.

    Args:
        text: The program's source.
        name: The function in it.
        about: What the program is, for tracebacks; another for each text.
    """
    import triton  # noqa: PLC0415 - where it is needed alone; it is large
    import triton.language as tl  # noqa: PLC0415

    file = f"<fedhome {about}>"
    # Triton reads the text of what it compiles as the debugger would.
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    names: dict[str, Any] = {"triton": triton, "tl": tl, "__name__": __name__}
    exec(compile(text, file, "exec"), names)  # noqa: S102 - fedhome wrote it
    return names[name]
