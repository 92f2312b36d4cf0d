"""Which of the locked packages have known vulnerabilities: `make audit`.

Ends with status 0 if none has, 1 if one has, and 75 if nobody could be asked: pip-audit itself says
then that nothing was found.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from helpers.pins import PINS

CLEAN, FOUND, NOBODY_TO_ASK = 0, 1, 75
_AUDIT = ("--from", "pip-audit>=2.9,<3", "pip-audit", "--require-hashes", "--disable-pip")
_ENOUGH_S = 600


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Return how an audit ends, and what there is to say.

    Args:
        report: pip-audit's, as JSON.
    """
    packages = report["dependencies"]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    said = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in {flaw['fix_versions'] or 'none'}"
        for one in packages
        for flaw in one.get("vulns", ())
    ]
    if said:
        return FOUND, said
    if len(skipped) == len(packages):
        return NOBODY_TO_ASK, ["skipped: the list of known vulnerabilities cannot be reached"]
    if skipped:
        said.append(f"not known there, so not audited: {', '.join(skipped)}")
    return CLEAN, [*said, f"{len(packages) - len(skipped)} packages, no known vulnerability"]


def main() -> int:
    """Audit the lock."""
    here = Path(sys.executable)
    command = [here.parent / "uvx", "--python", here, *_AUDIT, "-r", PINS, "--format", "json"]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_ENOUGH_S
        )
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        sys.stdout.write("skipped: pip-audit cannot be installed here, or reaches nobody\n")
        return NOBODY_TO_ASK
    status, said = verdict(report)
    sys.stdout.write("\n".join([*said, ""]))
    return status


if __name__ == "__main__":
    sys.exit(main())
