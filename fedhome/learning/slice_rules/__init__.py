"""Rules by which devices' slices lie in the model, one file each.

A rule is a function of :class:`Slicing` and a tier's number that returns a :class:`CarriedSlice`:
what a device of the tier predicts with, what it trains in the rounds, and where both lie in the
whole. What a rule asks of a plan is in :mod:`fedhome.plan.rule_traits`.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedhome.learning.slice_rules.carried import Carried, CarriedSlice, SliceRule, Slicing
from fedhome.learning.slice_rules.depthfl import depthfl
from fedhome.learning.slice_rules.fedrolex import fedrolex
from fedhome.learning.slice_rules.fiarse import fiarse
from fedhome.learning.slice_rules.heterofl import heterofl
from fedhome.learning.slice_rules.nested import nested

SLICE_RULES: Mapping[str, SliceRule] = {
    "nested": nested,
    "heterofl": heterofl,
    "fedrolex": fedrolex,
    "depthfl": depthfl,
    "fiarse": fiarse,
}
"""Every rule by its name, as of :data:`fedhome.plan.rule_traits.RULES`."""

__all__ = ["SLICE_RULES", "Carried", "CarriedSlice", "SliceRule", "Slicing"]
