"""Why a home refuses, as the server is told: the closed list of reasons.

What is told is one sentence. It may quote numbers of the question, of the plan and of sums that the
home took part in before, and names of homes; never a reading, a path or a key. A test reads the
reasons off the source of all that a home runs: one that is not named here makes it fail.
"""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "a-min": "a sum over too few homes",
    "arrival-signature": "a home in a sum that did not sign for what it sent (told by members)",
    "arrivals": "a set of homes that is malformed (members)",
    "asked-before": "too many sums about one model, or one in another epoch",
    "asked-too-often": "too many sums on one day",
    "budget": "a sum that costs more privacy than is left: the home's spent epsilon and ceiling",
    "bundle-used": "one-time keys that were used, or never made",
    "canonical": "bytes that are no message, or not in its one form",
    "check": "shares to check that are malformed, or none of a member's",
    "committee": "a committee in which too many may be corrupt",
    "conflict": "a second way to open a bundle that this member opened (members)",
    "dispute": "a key of a share that no member called wrong",
    "duplicate": "a roster with a home or a key twice",
    "encoding": "a clip, weight, norm or number of bits that is not the plan's, or could wrap",
    "enrolment": "a question that a simulation alone may ask",
    "erased": "a key of a share that is erased",
    "expired": "a manifest whose time is over",
    "expires-late": "a manifest that holds for too long",
    "fields": "a message with another number of fields",
    "form": "a sum over other numbers than the home adds up",
    "format": "bytes that cannot be read",
    "graph": "a masking graph that could fall apart",
    "group": "a home that is not of its group",
    "groups": "another number of groups than the plan's",
    "inputs": "inputs of another meaning than in the home's plan: order, kinds, units or words",
    "isolated": "a home with too few neighbours in the sum (members)",
    "label": "a message of another kind or version",
    "lanes": "numbers that do not fit together in a word",
    "layout": "a model of another layout",
    "masks": "masks of another length",
    "mode": "a question in the clear where the plan is secure, or the other way round",
    "model": "another model than the manifest's",
    "neighbour-signature": "one-time keys of a neighbour that it did not sign",
    "no-directory": "the home has no directory yet",
    "no-ring": "one-time keys, without members' keys of this half day",
    "noise": "a sum without the noise that the plan asks for, or of noise that hides nothing",
    "not-listed": "a roster or directory without this home",
    "not-member": "this home is not on the committee",
    "opened-before": "a second sum about a model",
    "older-head": "terms that name an older release or directory than this home was told of",
    "other-directory": "a manifest under another directory",
    "other-head": "terms that name another release or directory of a number than it was told of",
    "own-bundle": "this home's own keys, altered",
    "plan": "another plan than the home's",
    "points": "shares that belong to no member",
    "policy": "terms that promise nothing",
    "public-key": "a key with which all share one secret",
    "purpose": "another question than the manifest's",
    "range": "a number out of its range",
    "replayed": "a sum that has passed",
    "ring": "keys that are no members', or not in order",
    "ring-period": "members' keys of another time than the home's clock shows",
    "ring-size": "keys of too few members",
    "roster": "too few homes in a roster",
    "sealed": "not one share for each home (members)",
    "settings": "settings that the plan does not allow, or not the manifest's",
    "shapes": "numbers of another shape",
    "share": "a roster that leaves out too much of its group",
    "share-key": "a member's key that cannot be used",
    "shares": "shares that do not belong together",
    "signature": "a manifest that the server did not sign",
    "size": "a message that is too long, or a field of another size",
    "stale": "no word of the server within a week on what is the newest",
    "too-far-ahead": "terms that name a number far beyond what this home knows",
    "type": "a field of another type",
    "used": "masks that were used already",
    "votes": "votes that are too few, or not signed (members)",
    "weight": "a weight out of its range",
    "wraps": "more homes than a sum is made for",
}
"""What each short word stands for."""

WITHOUT_WORD: Mapping[str, str] = {
    "UpdateError": "a question that is malformed, or with settings that cannot be",
    "LayoutError": "a model of another layout; both hashes",
}
"""Refusals that have no short word, by their kind."""
