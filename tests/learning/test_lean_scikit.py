"""What a home fits loads none of scipy's statistics; whoever calls them has them all the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_FITTED = """\
import sys
import numpy as np
from fedhome.learning.alone import linear, trees
from fedhome.learning.alone.lean_scikit import spare_statistics
from fedhome.learning.alone.own_rows import OwnRows

if "spared" in sys.argv:
    spare_statistics()
drawn = np.random.default_rng(7)
x = tuple(drawn.normal(size=(rows, 3)).astype(np.float32) for rows in (240, 40, 40))
numbers = tuple(part[:, :1] for part in x)
classes = tuple((part > 0).astype(np.float32) for part in numbers)
for targets, y in (("continuous", numbers), ("binary", classes)):
    rows = OwnRows(targets=targets, outputs=1, x=x, y=y)
    assert linear.fit(rows).model and trees.fit(rows).model
assert "sklearn.ensemble" in sys.modules
print(*(name for name in sys.modules if name.startswith("scipy.stats")))
"""
_LATER = """\
import sklearn.metrics._ranking as ranking
from sklearn.utils.fixes import _mode
print(*ranking.rankdata([30, 10, 20]).tolist(), *_mode(np.array([1, 2, 2])).mode.tolist())
from scipy.stats import norm
print(f"{norm.ppf(0.975):.4f}")
"""
_MEANWHILE = """\
import sys
from fedhome.learning.alone.lean_scikit import _without_statistics

with _without_statistics():
    from scipy.stats import norm, no_such_name
    assert "scipy.stats._continuous_distns" not in sys.modules
    print(f"{norm.ppf(0.975):.4f} {norm(5.0, 1.0).mean():.1f}")
    from scipy.stats import gmean
    assert type(gmean).__name__ == "function"  # they are here now, and are left alone
from scipy.stats import rankdata
print(*rankdata([30, 10, 20]).tolist())
try:
    no_such_name()
except AttributeError as fault:
    print(fault)
"""


_NEEDS_MORE = """\
import sys
from types import ModuleType
from fedhome.learning.alone import lean_scikit

class Needy:  # a scikit-learn that derives a class of its own from one of the statistics
    def find_spec(self, name, path=None, target=None):
        if name == "sklearn.metrics":
            from scipy.stats import rv_continuous
            class Own(rv_continuous):
                pass

sys.meta_path.insert(0, Needy())
lean_scikit.spare_statistics()
print(lean_scikit.scikit("ensemble").RandomForestRegressor(2).fit([[0.0], [1.0]], [0, 1]))
"""


def _printed(script: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # threads that wait for each other take a core
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.long
def test_what_is_fitted_loads_no_statistics_and_they_are_there_when_they_are_called() -> None:
    none, later, own = _printed(_FITTED + _LATER, "spared")
    assert none == ""
    assert later == "3.0 1.0 2.0 2"
    assert own == "1.9600"


@pytest.mark.long
def test_whoever_imports_statistics_meanwhile_has_the_real_ones() -> None:
    quantile, ranks, fault = _printed(_MEANWHILE)
    assert quantile == "1.9600 5.0"
    assert ranks == "3.0 1.0 2.0"
    assert "scipy.stats" in fault
    assert "no_such_name" in fault


@pytest.mark.long
def test_a_process_that_is_not_a_homes_worker_has_scikit_learn_as_it_is() -> None:
    (loaded,) = _printed(_FITTED)
    assert "scipy.stats._continuous_distns" in loaded.split()


@pytest.mark.long
def test_a_scikit_learn_that_needs_the_statistics_gets_them() -> None:
    assert _printed(_NEEDS_MORE) == ["RandomForestRegressor(n_estimators=2)"]
