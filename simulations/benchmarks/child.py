"""The process of one contender: ``child NAME WORKLOAD CLIENTS ROUNDS CHECKED OUT.npz``."""

from __future__ import annotations

import resource
import sys

import numpy as np

from fedhome.simulations.benchmarks.measure import NOT_HERE, BenchmarkCase, NotHereError, run_here
from fedhome.simulations.benchmarks.workloads import WORKLOADS


def main(arguments: list[str]) -> None:
    """Run a contender and write what it measured.

    Args:
        arguments: The contender, the workload, how many clients, how many rounds, after how
            many of them parameters are compared, the file to write.
    """
    name, workload, clients, rounds, checked, out = arguments
    case = BenchmarkCase(
        workload=WORKLOADS[workload],
        clients=int(clients),
        rounds=int(rounds),
        checked=int(checked),
    )
    try:
        measured = run_here(name, case)
    except NotHereError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(NOT_HERE) from None
    np.savez(
        out,
        params=measured.params,
        seconds=measured.seconds,
        cpu_s=measured.cpu_s,
        setup_s=measured.setup_s,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
