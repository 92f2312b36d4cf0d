"""The registry of models: every round's model as a release, signed, sealed, in one chain.

::

    Model ── release_of ──► Draft ── Registry.publish ──► Release ── Registry.package ──► bytes
                                                                                            │
    home:  Accepted (model, what to remember) ◄── accept (directory, what was seen last) ◄──┘

Needs neither torch nor Flower.
"""

from fedhome.registry.accept import Accepted, Seen, accept, recall
from fedhome.registry.export import export
from fedhome.registry.formats import FORMATS, Fidelity, Model
from fedhome.registry.registry import Registry
from fedhome.registry.release import Draft, Manifest, Origin, Privacy, release_of
from fedhome.registry.shelf import Reference, Release
from fedhome.registry.vault import needs_passphrase
from fedhome.registry.verify import Fault, Report

__all__ = [
    "FORMATS",
    "Accepted",
    "Draft",
    "Fault",
    "Fidelity",
    "Manifest",
    "Model",
    "Origin",
    "Privacy",
    "Reference",
    "Registry",
    "Release",
    "Report",
    "Seen",
    "accept",
    "export",
    "needs_passphrase",
    "recall",
    "release_of",
]
