"""``fedhome``, also as ``python -m fedhome``: the command line, from its first moment on.

To load it takes some tenths of a second. Ctrl-C in that time ends it as it does later, by a
sentence and status 130: what is being imported would show where it was interrupted.
"""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from types import FrameType

_ESCAPED = "fedhome.escaped"
_INTERRUPTED = 130  # as of a shell: 128 and the signal's number


def _end(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted: nothing was done\n")
    os._exit(_INTERRUPTED)  # nothing has begun that would have to be ended


def _open_streams() -> None:
    """Open what was closed of input, output and errors: to nowhere.

    The next file that is opened would have the number of a closed one, and what a library below
    Python writes as an error would be written into it, be it a home's keys.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free: this one


def _write_any_letter() -> None:
    """Have output escape a letter that the terminal's encoding lacks.

    It may be a unit's, or of a home's name: no reason to end a command halfway. It is escaped as
    TOML has it, so that a plan that is printed into a file means the same.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        codecs.register_error(_ESCAPED, _escaped)
        sys.stdout.reconfigure(errors=_ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    codes = map(ord, error.object[error.start : error.end])
    return "".join(f"\\u{c:04X}" if c < 1 << 16 else f"\\U{c:08X}" for c in codes), error.end


def main() -> None:
    """Load the command line and run it."""
    _open_streams()
    _write_any_letter()
    usual = signal.getsignal(signal.SIGINT)
    asked = usual is signal.default_int_handler  # else whoever started it wants no Ctrl-C here
    if asked:
        signal.signal(signal.SIGINT, _end)
    from fedhome.cli import main as run  # noqa: PLC0415 - what takes the time
    from fedhome.ops.core_dumps import leave_no_core  # noqa: PLC0415

    leave_no_core()  # an owner's key or passphrase is in the memory of some commands

    if asked:
        signal.signal(signal.SIGINT, usual)
    run()


if __name__ == "__main__":
    main()
