"""What a secure simulation cannot make by the processor's own instructions here, in words.

The library makes the same then, and takes longer over it: a run says so once.
"""

from __future__ import annotations

from collections.abc import Mapping

from llvmlite import binding

from fedhome.simulations.engines import pair_streams, row_names, row_seals

_PARTS: Mapping[str, tuple[str, ...]] = {
    "masks": pair_streams.FEATURES,
    "seals of shares": row_seals.FEATURES,
    "names of rows": row_names.FEATURES,
}
_WORDS: Mapping[str, str] = {
    "aes": "AES",
    "pclmul": "carry-less products",
    "ssse3": "SSSE3",
    "sha": "SHA-256",
}


def slower_here() -> str | None:
    """Return what a run says of it; None where nothing lacks."""
    begin = "secure sums take more processor time here, and come to the same: "
    try:
        binding.check_jit_execution()
    except OSError:
        return begin + "this system lets no process create machine code"
    x86 = "x86_64" in binding.get_process_triple()
    has = binding.get_host_cpu_features() if x86 else {}
    lacking = {
        part: [name for name in needed if not has.get(name)] for part, needed in _PARTS.items()
    }
    slower = [part for part, names in lacking.items() if names]
    if not slower:
        return None
    names = dict.fromkeys(_WORDS[name] for names in lacking.values() for name in names)
    return (
        f"{begin}this processor has no instructions of x86 for {', '.join(names)}, so the library "
        f"makes {', '.join(slower)}"
    )
