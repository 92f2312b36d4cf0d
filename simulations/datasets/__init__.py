"""Named sets of real homes: described, fetched on request, cached as one Parquet file per home."""

from fedhome.simulations.datasets.catalogue import CATALOGUE, get, is_cached, load, named
from fedhome.simulations.datasets.dataset import DataSet, Remote

__all__ = ["CATALOGUE", "DataSet", "Remote", "get", "is_cached", "load", "named"]
