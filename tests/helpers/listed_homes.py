"""A directory that lists homes and says nothing else."""

from __future__ import annotations

from fedhome.secagg import Directory, HomeKeys


def listing(*keys: HomeKeys) -> Directory:
    """Return a directory of homes with these keys, signed by nobody."""
    return Directory(
        fleet=b"f" * 16,
        epoch=1,
        seed=b"s" * 32,
        server=b"k" * 32,
        committee=1,
        corrupt=0,
        threshold=1,
        homes=tuple(one.entry() for one in keys),
    )
