"""The registry of models: what runs end with as releases, signed, sealed, in one chain.

A home that missed releases walks them first, by their manifests (`follow`).

::

    Model ── release_of ──► Draft ── Registry.publish ──► Release ── Registry.package ──► bytes
                                                                                            │
    home:  AcceptedRelease (model, memory) ◄───── accept (directory, what was seen last) ◄──┘

Needs neither torch nor Flower.
"""

from fedhome.registry.accept import AcceptedRelease, accept, recall
from fedhome.registry.chain import SeenRelease, follow
from fedhome.registry.export import export
from fedhome.registry.formats import FORMATS, Fidelity, ModelPayload
from fedhome.registry.model_registry import Registry
from fedhome.registry.release import Draft, Origin, Privacy, ReleaseManifest, release_of
from fedhome.registry.shelf import Reference, Release
from fedhome.registry.vault import needs_passphrase
from fedhome.registry.verify import Fault, Report

__all__ = [
    "FORMATS",
    "AcceptedRelease",
    "Draft",
    "Fault",
    "Fidelity",
    "ModelPayload",
    "Origin",
    "Privacy",
    "Reference",
    "Registry",
    "Release",
    "ReleaseManifest",
    "Report",
    "SeenRelease",
    "accept",
    "export",
    "follow",
    "needs_passphrase",
    "recall",
    "release_of",
]
