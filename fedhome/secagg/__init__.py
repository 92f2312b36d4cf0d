"""Secure aggregation (FH-PAIR/4): updates are added up under masks that cancel in the sum.

Against whom that holds, and what is open today: docs/security.md.

::

    Authority ── issue ──► Directory: who is in the fleet, who serves on the committee
    members ─ share keys ──► KeyRing ──► HomeParty   keys of some hours, to seal shares for
    HomeParty ─ bundle ──► Pool   one-time keys, ahead of the round
    members ◄─ rows of bundles ─ ShareChecks    are their shares right? who says so wrongly?
    HomeParty ◄─ Manifest ─ server     the terms of one sum; `HomeParty.join` checks all of them
    HomeParty ─ upload ──► Aggregator  the update under masks that cancel in the sum
    members ◄─ polls, requests ─ Aggregator   the committee votes on who is in the sum, and
    members ─ votes, answers ──► Aggregator   then gives the shares that open that sum alone
                                 Aggregator.open ──► OpenedSum: the exact sum, and who is in it

Bytes in, bytes out: no socket, no clock, no thread. The composition is this project's own and
has had no outside review.
"""

from fedhome.keys.signing import ServerKeys, Verify, signature_holds
from fedhome.secagg.aggregator import Aggregator, OpenedSum
from fedhome.secagg.bundle import Bundle
from fedhome.secagg.checking import ShareChecks
from fedhome.secagg.directory import Authority, Directory, HomeKeys
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form, Total
from fedhome.secagg.home_entry import HomeEntry
from fedhome.secagg.home_party import HomeParty
from fedhome.secagg.joined_sum import JoinedSum
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.parameters import Parameters
from fedhome.secagg.policy import Policy, most_corrupt
from fedhome.secagg.pool import Pool
from fedhome.secagg.scalars import Scalar
from fedhome.secagg.share_keys import KeyRing, ShareKey
from fedhome.secagg.state import HomeState, MemoryStore, Store

__all__ = [
    "Aggregator",
    "Authority",
    "Bundle",
    "Directory",
    "FixedPoint",
    "Form",
    "HomeEntry",
    "HomeKeys",
    "HomeParty",
    "HomeState",
    "JoinedSum",
    "KeyRing",
    "Manifest",
    "MemoryStore",
    "OpenedSum",
    "Parameters",
    "Policy",
    "Pool",
    "Scalar",
    "ServerKeys",
    "ShareChecks",
    "ShareKey",
    "Store",
    "Total",
    "Verify",
    "most_corrupt",
    "signature_holds",
]
