"""Why somebody refuses, by a short word: closed lists, each with what it means and what to do.

A home that does not answer a question tells its server one of these words and nothing else: no
number, name, path or key. So whoever runs the server reads what is wrong and who can mend it, and
the home's own log has the rest. Tests read the words off the source of all that a home runs, and
hold the guides to these lists (`fedhome reasons`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


class Reason(NamedTuple):
    """What a word stands for.

    Args:
        why: What is wrong.
        remedy: Who does what about it; empty where the log's own words say more.
    """

    why: str
    remedy: str = ""


_SAME_RELEASE = "home and server must run the same plan and the same release of fedhome"
_CHEATS = "if it comes again, the server does not keep to the protocol: tell the fleet's owner"
_CLOCKS = "NTP, on both; a Pi has no clock of its own"
_SIGN = "owner: `fedhome fleet directory`"
_REGISTRY = (
    "bring the registry back from a backup that has it, or give the server a new key: `fedhome "
    "fleet new-server`; if it was never lost, the server cheats"
)
_ANEW = (
    "new keys: owner: `fedhome fleet revoke`, `fleet directory`, `fleet invite`; at home: `fedhome "
    "client forget`, then `client join`"
)
_ROOM = "make room on the home's disk: it goes on by itself; nothing was lost"
_WRITABLE = "the home's folder must belong to the account that runs its agent"
_LOG = "at home: `fedhome client status`, and the agent's log"

QUESTIONS: Mapping[str, Reason] = {
    "a-min": Reason("a sum over too few homes", "invite more homes, or lower min_cohort"),
    "alike": Reason(
        "after a sum of nearly the same numbers it would tell few homes (members)",
        "it passes with the next model: a server of this release leaves enough homes out by itself",
    ),
    "arrival-signature": Reason(
        "a home in a sum that did not sign for what it sent (told by members)", _CHEATS
    ),
    "arrivals": Reason("a set of homes that is malformed (members)"),
    "asked-before": Reason(
        "too many sums about one model, or one in another epoch",
        "it passes with the next round's model",
    ),
    "asked-too-often": Reason("too many sums on one day", "it passes by itself within a day"),
    "budget": Reason(
        "a sum that costs more privacy than is left, or a home that lost count of what is",
        "at home: `fedhome client privacy` shows what is spent, and sets the ceiling; if its "
        "`privacy.fh` is lost, the agent's log says so",
    ),
    "bundle-used": Reason(
        "one-time keys that were used, or never made",
        "after a home's machine was started anew, or its folder copied, it passes with the next "
        f"sum; else a server or a home came back from a backup: {_SIGN}",
    ),
    "canonical": Reason("bytes that are no message, or not in its one form", _SAME_RELEASE),
    "check": Reason("shares to check that are malformed, or none of a member's"),
    "committee": Reason(
        "a committee in which too many may be corrupt", "owner: a larger `--committee`"
    ),
    "conflict": Reason("a second way to open a bundle that this member opened (members)", _CHEATS),
    "dispute": Reason("a key of a share that no member called wrong"),
    "duplicate": Reason("a roster with a home or a key twice", _CHEATS),
    "encoding": Reason(
        "a clip, weight, norm or number of bits that is not the plan's, or could wrap",
        _SAME_RELEASE,
    ),
    "enrolment": Reason("a question that a simulation alone may ask"),
    "erased": Reason("a key of a share that is erased", "it passes with the next half day's keys"),
    "expired": Reason(
        "a manifest, or a directory, whose time is over",
        f"{_SIGN}; if that was done, the server holds it back, or a clock is wrong",
    ),
    "expires-late": Reason("a manifest that holds for too long", _CLOCKS),
    "fields": Reason("a message with another number of fields", _SAME_RELEASE),
    "form": Reason("a sum over other numbers than the home adds up", _SAME_RELEASE),
    "format": Reason("bytes that cannot be read", _SAME_RELEASE),
    "graph": Reason("a masking graph that could fall apart"),
    "group": Reason("a home that is not of its group"),
    "groups": Reason("another number of groups than the plan's", _SAME_RELEASE),
    "inputs": Reason(
        "inputs of another meaning than in the home's plan: order, kinds, units or words",
        "run the homes' plan, or ask them anew: `fedhome fleet invite HOME --again`, "
        "then `client join`",
    ),
    "isolated": Reason("a home with too few neighbours in the sum (members)"),
    "label": Reason("a message of another kind or version", _SAME_RELEASE),
    "lanes": Reason("numbers that do not fit together in a word"),
    "layout": Reason("a model of another layout", _SAME_RELEASE),
    "malformed": Reason(
        "a question that is malformed, or with settings that cannot be", _SAME_RELEASE
    ),
    "masks": Reason("masks of another length"),
    "mode": Reason(
        "a question in the clear where the plan is secure, or the other way round",
        "run the plan that the homes agreed to",
    ),
    "model": Reason("another model than the manifest's", _CHEATS),
    "neighbour-signature": Reason("one-time keys of a neighbour that it did not sign", _CHEATS),
    "no-directory": Reason(
        "the home has no directory yet",
        "wait for `fedhome fleet admit`; five homes are needed with the default plan",
    ),
    "no-ring": Reason("one-time keys, without members' keys of this half day"),
    "noise": Reason(
        "a sum without the noise of the plan, with too little, or with some that it does not have",
        "run the plan that the homes agreed to",
    ),
    "not-listed": Reason(
        "a roster or directory without this home", "not admitted, or revoked: the owner invites it"
    ),
    "not-member": Reason("this home is not on the committee"),
    "opened-before": Reason(
        "a second sum about a model",
        "it passes with the next model; where more homes say it than may be corrupt, the run ends "
        "and says what to do: two servers have one key, or an older copy of one runs",
    ),
    "older-head": Reason(
        "terms that name an older release or directory than this home was told of", _REGISTRY
    ),
    "other-directory": Reason(
        "a directory that the server has not said to be the newest",
        "it passes when the home connects anew, which it does by itself; both clocks",
    ),
    "other-head": Reason(
        "terms that name another release or directory of a number than it was told of", _REGISTRY
    ),
    "own-bundle": Reason("this home's own keys, altered", _CHEATS),
    "plan": Reason("another plan than the home's", "run the plan that the homes agreed to"),
    "points": Reason("shares that belong to no member"),
    "policy": Reason("terms that promise nothing", _SAME_RELEASE),
    "public-key": Reason("a key with which all share one secret", _CHEATS),
    "purpose": Reason("another question than the manifest's", _CHEATS),
    "range": Reason("a number out of its range", _SAME_RELEASE),
    "replayed": Reason(
        "a sum whose number has passed",
        f"the server came back from a backup: {_SIGN}, and sums are counted anew",
    ),
    "ring": Reason("keys that are no members', or not in order"),
    "ring-period": Reason("members' keys of another time than the home's clock shows", _CLOCKS),
    "ring-size": Reason("keys of too few members"),
    "roster": Reason("too few homes in a roster", "wait for more homes to connect"),
    "sealed": Reason("not one share for each home (members)"),
    "settings": Reason(
        "settings that the plan does not allow, or not the manifest's",
        "run the plan that the homes agreed to, with no more rounds than it has",
    ),
    "shapes": Reason("numbers of another shape", _SAME_RELEASE),
    "share": Reason("a roster that leaves out too much of its group"),
    "share-key": Reason("a member's key that cannot be used"),
    "shares": Reason("shares that do not belong together"),
    "shell": Reason(
        "a part of a sliced model that too few homes have by the directory, or not all of a roster",
        _CHEATS,
    ),
    "signature": Reason(
        "what is not signed with the key that the directory names",
        f"{_SIGN}, if the server has a new key; else another server answers",
    ),
    "size": Reason("a message that is too long, or a field of another size", _SAME_RELEASE),
    "stale": Reason(
        "no word of the server within a week on what is the newest",
        "it passes when the home connects; both clocks",
    ),
    "too-far-ahead": Reason(
        "terms that name a number far beyond what this home knows",
        "at home: its log says why it takes no release",
    ),
    "type": Reason("a field of another type", _SAME_RELEASE),
    "used": Reason("masks that were used already"),
    "votes": Reason("votes that are too few, or not signed (members)"),
    "weight": Reason("a weight out of its range", _SAME_RELEASE),
    "wraps": Reason("more homes than a sum is made for"),
}
"""What is wrong with a question, or with the terms of a sum."""

AT_HOME: Mapping[str, Reason] = {
    "disk-full": Reason("the home's disk is full: its state cannot be kept", _ROOM),
    "not-writable": Reason("the home's folder cannot be written", _WRITABLE),
    "state": Reason("the home's state cannot be kept, or is not known", _LOG),
    "readings": Reason("the home's readings cannot be used", f"correct the files; {_LOG}"),
    "no-readings": Reason(
        "the home has recorded no readings yet",
        "it adds nothing until it has some: at home, `fedhome client record`",
    ),
    "unlike": Reason(
        "the home's readings do not have the plan's inputs",
        f"correct the files; {_LOG} name the columns",
    ),
    "own-plan": Reason("the home's own plan or folder cannot be used", _LOG),
    "own-code": Reason("the plan's own code cannot be used there", _LOG),
    "worker": Reason(
        "what learns there ended before it had answered, or took too long",
        f"too little memory, as a rule; {_LOG}",
    ),
    "restarted": Reason(
        "the home was started again while it was answering", "it is asked again by itself"
    ),
    "other-app": Reason(
        "a question for another app or release than the home runs", "upgrade the older one"
    ),
    "not-kept": Reason(
        "the home sent its answer five times, and the server took no whole one",
        "if it comes again: the server's `superlink.log` and `front.log` say why; the line between "
        "them may break off",
    ),
    "no-part": Reason("the home takes no part now", _LOG),
    "failed": Reason("something that nobody foresaw", f"{_LOG} say where; report it"),
    "unlisted": Reason("a word that is on no list", _SAME_RELEASE),
}
"""What is wrong in a home itself: of its readings, files and code no more is told."""

CONNECTING: Mapping[str, Reason] = {
    "rolled-back": Reason(
        "the server knows a later state of the home: its folder came from a backup, or its disk "
        "has lost what it wrote",
        _ANEW,
    ),
    "chain": Reason(
        "two lines of directories: the owner's folder came from a backup, or somebody else signs",
        "owner: `fedhome fleet directory --after EPOCH`, with the highest that any home shows; if "
        "nobody restored a backup, the owner's key is stolen",
    ),
    "fork": Reason("the same: two directories of one number", "as `chain`"),
    "far-ahead": Reason("the same: a directory of a number far ahead", "as `chain`"),
    "older": Reason(
        "the server has an older directory than the home: it came back from a backup",
        _SIGN,
    ),
    "freshness": Reason(
        "the server's word on what is newest is of another directory",
        "it passes when the home connects anew",
    ),
    "fleet": Reason("another fleet's", "a new invite, and `client join`"),
    "clock": Reason(
        "the home's clock is more than 4 s ahead of the server's, or 120 s behind, or shows a time "
        "at which the server's certificate is not good",
        f"{_CLOCKS}; at home: `fedhome client status` shows the times",
    ),
    "version": Reason("another release than the server's", "upgrade the older one"),
    "twice": Reason(
        "another node of this home is connected",
        "after a power cut this passes within a minute; otherwise find the copy",
    ),
    "retired": Reason("another node took this one's place", "it makes another key by itself"),
    "refused": Reason(
        "Flower does not take its node's signature",
        "it joins anew by itself; if not, the clock",
    ),
    "unreachable": Reason(
        "name, port or firewall; or what answers there is another server, or has another name, "
        "than on the card",
        "look at the address in `fedhome client status`",
    ),
}
"""Why a home does not connect; its status says so, and its next claim tells the server."""

RELEASES: Mapping[str, Reason] = {
    "withheld": Reason(
        "the server does not give out the release that it calls the newest",
        "the server's log, and `fedhome model verify` there",
    ),
    "gap": Reason("releases between the home's and the newest are missing", _REGISTRY),
    "not-finite": Reason("a release with numbers that are not finite", "publish another one"),
    "number": Reason("a release of another number than was named", _REGISTRY),
    "round": Reason("a release of another round than its chain says", _REGISTRY),
    "seen": Reason(
        "the home cannot tell which releases it has accepted",
        "at home: what is printed names the file, and what to do",
    ),
}
"""Why a home takes no release, besides words of the other lists."""

JOINING: Mapping[str, Reason] = {
    "used": Reason(
        "the invite was used",
        "by another device: if that was not you, tell the owner, who revokes and invites again; by "
        "this one, before its home was revoked: a new invite",
    ),
    "expired": Reason("the invite's time is over", "a new one; or the device's clock is wrong"),
    "invite": Reason("damaged, or another owner's", "copy the file whole"),
    "home-twice": Reason("the fleet has this home with other keys", _ANEW),
    "full": Reason("too many homes wait for the owner", "owner: `fedhome fleet admit`"),
}
"""Why `fedhome client join` ends with an error."""

STARTING: Mapping[str, Reason] = {
    "in-use": Reason("another process has the folder", "`fedhome client status` names it"),
    "rolled-back": Reason(
        "the home's state is older than its mark",
        f"never put it back; {_ANEW}",
    ),
    "truncated": Reason("a file of the home's state has lost its end", "as `rolled-back`"),
    "altered": Reason("a file that was altered", "what is printed names it, and what to do"),
    "foreign": Reason("a file that is none of ours, or of another release", "as `altered`"),
    "missing": Reason("a file is missing", "as `altered`"),
    "wrong-key": Reason("the state's key does not open it", "as `rolled-back`"),
    "permissions": Reason(
        "others may read a secret file, or put files of theirs in its place", "as `altered`"
    ),
}
"""Why an agent does not begin; but for ``in-use`` with status 78: it is not started again."""

OTHER_PLAN = frozenset({"inputs", "mode", "noise", "plan", "settings"})
"""Words of a home whose people agreed to another plan than the one that is run."""

TOLD: Mapping[str, Reason] = {**QUESTIONS, **AT_HOME}
"""What a home may answer instead of a response."""

CLAIMED: Mapping[str, Reason] = {**QUESTIONS, **AT_HOME, **CONNECTING}
"""What a home may say of why it did not connect the last time."""

PEOPLES = frozenset(STARTING) - {"in-use"}
"""Reasons that end a process, and that nothing but people can mend."""

REFUSED = 78
"""Status of a process that nobody need start again before people acted."""

NOTHING = "none"
"""In a claim: the home connected the last time, or never tried."""

NOT_KEPT = "not-kept"
"""In a claim: the home gave up sending an answer, and connected anew. No question is refused."""

ANSWER = "answer"
"""In place of a question, where what fails is to send an answer."""

_WORD = re.compile(r"\(([a-z-]+)\)$")


def in_words(word: str) -> str:
    """Return what a word that a home has told means, with the word; any other text as it is."""
    reason = TOLD.get(word)
    return word if reason is None else f"{reason.why} ({word})"


def word_in(text: str) -> str:
    """Return the word in a text that `in_words` made; empty where it is none."""
    word = found.group(1) if (found := _WORD.search(text)) else text
    return word if word in TOLD else ""


def listed(word: str) -> str:
    """Return a word that came from elsewhere if it may be told, else ``unlisted``."""
    return word if word in TOLD else "unlisted"
