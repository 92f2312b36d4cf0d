"""What leaves a home: the text that its people agree to.

The text follows from the plan and from the questions that a server can ask: each row of
:mod:`fedhome.questions.question_table` and :mod:`fedhome.clients.protocol_questions` says what
people are told of it, and of the bounded numbers of a sum what each of them is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from fedhome.clients.membership import method_words, private_words, tier_words, weight_words
from fedhome.clients.membership.consent_summary import ALL_OF_IT, bullets, paragraph, summary_of
from fedhome.clients.protocol_questions import PROTOCOL
from fedhome.plan.overrides import code_at_home
from fedhome.plan.private_plan import is_private
from fedhome.plan.protocol import most_sums_a_day
from fedhome.plan.settings import Plan
from fedhome.plan.transfer_plan import sends_fewer
from fedhome.questions import mixtures
from fedhome.questions.empty_handed import MEANING
from fedhome.questions.outcomes import MOST_BINS
from fedhome.questions.question_table import CENSUS, SUMMED, SummedQuestion
from fedhome.questions.settings import census_faults
from fedhome.secagg.ledger import MOST_ATTEMPTS
from fedhome.wire.names import BUNDLE, HELP, SHAPE

_WIDTH = 88
_paragraph = partial(paragraph, width=_WIDTH)
_bullets = partial(bullets, width=_WIDTH)


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """The fleet that a home is invited to, and on what terms.

    Args:
        home: The name that it will have.
        fleet: The fleet's number, 16 bytes.
        server: ``host:port`` of the server's front.
        plan: The plan that it takes part in.
        parameters: How many numbers an update has; None: not known yet.
        tier: Which slice of the model its device carries; empty where the plan has none.
    """

    home: str
    fleet: bytes
    server: str
    plan: Plan
    parameters: int | None = None
    tier: str = ""


def consent_text(invitation: Invitation) -> str:
    """Return what will ever leave a home, to whom, and what can be learnt from it.

    It begins with a screen that says so in short (:func:`.short_of`).
    """
    plan = invitation.plan
    plain = is_plain(plan)
    size = (
        "all its numbers" if invitation.parameters is None else f"{invitation.parameters:,} numbers"
    )
    if sends_fewer(plan):
        size = f"some of {size}, others in each round"
    values = {
        "update": size,
        "most": _most_weight(plan),
        **weight_words.weights(plan, _most_weight(plan)),
        **mixtures.sizes(plan.personalise),
        "bins": MOST_BINS,
    }
    head = [
        ("home", invitation.home),
        ("fleet", invitation.fleet.hex()),
        ("server", invitation.server),
        ("plan", f"{plan.name}: learns to predict {plan.data.target}"),
        *tier_words.carried(invitation.tier),
    ]
    parts = [
        summary_of(head, plan, size=size, plain=plain),
        ALL_OF_IT,
        _paragraph(
            "The readings stay on this device. What is listed here goes over an encrypted "
            "connection to the server named above, and this home tells it to nobody else."
        ),
        *(_plain_kinds(plan, values) if plain else _summed_kinds(plan, values)),
        _bullets(
            "Of this home alone, readable for the server:",
            _readable(invitation.home, tier_words.readable(plan, invitation.tier), plain=plain),
        ),
        _bullets("For the secret sums of the fleet:", _protocol()),
        *([] if plain else [_bullets("How often:", _how_often(plan))]),
        *([] if plain else _server_learns(plan)),
        _bullets("What is in no message:", _never_sent(plain=plain)),
        _bullets("And:", _other_facts(plan)),
    ]
    return "\n\n".join(parts) + "\n"


def is_plain(plan: Plan) -> bool:
    """Return whether a home of this plan sends its own update readable."""
    return plan.aggregation.mode == "plain"  # of all others, a real home makes secret sums


def _summed_kinds(plan: Plan, values: Mapping[str, object]) -> list[str]:
    lines = private_words.summed_lines(plan, values) if is_private(plan) else []
    for row in () if lines else _asked(plan):
        consent = row.consent
        told = row.words(plan.personalise)
        words = [consent.secure, *told] if consent.secure else told
        lines.append(f"{consent.when}: {'; '.join(words)}.".format(**values))
    lines.append(f"with each of these: {MEANING}.")
    return [
        _bullets(
            "In sums only, each number hidden under masks that cancel in the sum over many homes:",
            lines,
        )
    ]


def _plain_kinds(plan: Plan, values: Mapping[str, object]) -> list[str]:
    lines = [
        f"{row.consent.when}: {row.consent.plain}.".format(**values)
        for row in _asked(plan)
        if row.consent.plain
    ]
    return [_bullets("Readable, as this home's own:", lines)]


def _asked(plan: Plan) -> list[SummedQuestion]:
    """Return the questions that a plan asks at all; a home refuses others."""
    refused = set() if _counts_examples(plan) else {CENSUS}
    return [row for row in SUMMED.values() if row.times(plan) and row.name not in refused]


def _counts_examples(plan: Plan) -> bool:
    return not any(census_faults({}, plan))


def _readable(home: str, device: list[str], *, plain: bool) -> list[str]:
    model = PROTOCOL[SHAPE].consent
    took_part = "which rounds it takes part in" if plain else "which sums it takes part in"
    return [
        (
            f"its name ({home}) and its two public keys; the fleet's owner and all homes of the "
            "fleet get them too, in the fleet's directory."
        ),
        *device,
        (
            "the public key of its connection, the release and build of fedhome that it runs, "
            "which release of the fleet's model it has, its internet address, when it is "
            f"connected, {took_part}, and of each answer the size and when it came."
        ),
        f"{model.when}: {model.plain if plain else model.secure}.",
        (
            "where it cannot answer, or could not connect: one word of a fixed list that says why."
            if plain
            else "where a question is not as this plan says, or it could not connect: one word of "
            "a fixed list that says why. What fails on this device while it learns is told to "
            "nobody: it then adds nothing, under masks as always."
        ),
        "if it leaves the fleet: that it does.",
    ]


def _protocol() -> list[str]:
    return [
        (
            f"{PROTOCOL[BUNDLE].consent.when}: one-time public keys, and their secrets in pieces, "
            "each sealed for one member of the fleet's committee; the server cannot open them. To "
            "open a sum, members open one secret of each home: of its mask if it is in the sum, of "
            "its key if it vanished, never both."
        ),
        (
            f"{PROTOCOL[HELP].consent.when}, if the fleet's directory makes this home a member of "
            "the committee: its vote on who is in the sum, and its pieces of other homes' one-time "
            "secrets. They say nothing of this home."
        ),
    ]


def _how_often(plan: Plan) -> list[str]:
    count = ", and the count at the beginning once for as long as the fleet's directory stays"
    return [
        (
            "of everything that is asked about one model (to train it, to test it, to adapt it, to "
            f"count at the end), one sum is opened{count if _counts_examples(plan) else ''}: homes "
            "of the committee help to open no second one. This home tries at most "
            f"{MOST_ATTEMPTS} times."
        ),
        (
            f"in at most {most_sums_a_day(plan)} sums a day: those of three runs of this plan. "
            "`fedhome client ledger` lists them."
        ),
    ]


def _server_learns(plan: Plan) -> list[str]:
    private = is_private(plan)
    cheating = (
        private_words.learnt_by_a_cheating_server() if private else _cheating_server_learns(plan)
    )
    noise = [_bullets("What the noise promises:", private_words.promises(plan))] if private else []
    return [
        _bullets("What a server that keeps to the rules learns:", _honest_server_learns(plan)),
        _bullets(
            "What a server that breaks the rules can learn today, without any home refusing:",
            cheating,
        ),
        *noise,
        _paragraph(
            "Agree only if you trust whoever runs the server to keep to the rules"
            + (", or if that bound is enough for you." if private else ".")
        ),
        _bullets("The sums hide this home only if this holds, too:", _assumptions(plan)),
    ]


def _honest_server_learns(plan: Plan) -> list[str]:
    settings = plan.aggregation
    sums = f"{settings.groups} sums a round, each" if settings.groups > 1 else "sums"
    sums += f" over at least {settings.min_cohort} homes; this home takes part in no smaller one."
    if is_private(plan):
        return private_words.learnt_by_an_honest_server(sums)
    return [
        sums,
        private_words.THE_MODEL,
        (
            "a sum still says something of the homes in it, and two sums over the same homes but "
            "for one differ by that one. Homes add no noise against this. From many sums over "
            f"changing sets of homes, {weight_words.worked_out(plan)}over many rounds roughly how "
            "it changes the model; and from two rounds whose models hardly differ, of which it is "
            "in one, roughly that, and how well the model does on its validation rows."
        ),
        weight_words.SAME_AT_ALL_MODELS,
        *method_words.shown_by(plan),
    ]


def _cheating_server_learns(plan: Plan) -> list[str]:
    timed = [
        (
            "roughly how long this home computes, and so how many examples it has: from when its "
            "answers come."
        ),
    ]
    return [
        (
            "this home's own update: by models made so that all other homes have nothing to add. "
            "Also by asking about two models that differ in last digits alone, the second time "
            "without this home. Only noise would prevent that, and homes add none."
        ),
        (
            "single rows of the readings of the homes in a sum, each with all that the model takes "
            "in at once: by models made so that one row alone moves two of their numbers. Whose "
            "row it is, the sum does not say."
        ),
        (
            "how well models do on this home's validation rows: in the same way, by two models "
            "that hardly differ. About one model, members open no second sum that is nearly the "
            "same."
        ),
        (
            "in how many of all homes a reading is above a bound: by models made so that such a "
            "home has nothing to add. It does not learn which homes these are."
        ),
        *([] if plan.rounds.reply_after_s else timed),
        (
            "what this home sent in the last day, if whoever recorded it gets hold of this home's "
            "keys, or of those of enough members, before they are erased, which is within a day."
        ),
    ]


def _assumptions(plan: Plan) -> list[str]:
    return [
        (
            f"at most {100 * plan.aggregation.corrupt:.3g} % of the fleet's homes (rounded down, "
            "but one in any fleet) work for whoever attacks. If all others in a sum did, they "
            "could take their own parts off it."
        ),
        (
            "the fleet's owner lists real homes only, and keeps the key that signs the list away "
            "from the server."
        ),
        "the devices run fedhome as it was released. Its protocol has had no outside review.",
    ]


def _never_sent(*, plain: bool) -> list[str]:
    follows = "from an update" if plain else "by a server that breaks the rules"
    return [
        (
            "the readings: no row, no value, no time of any, nor where they lie. What can be "
            f"worked out {follows} is said above."
        ),
        "the model that this home adapts to itself.",
        "the secret keys that tell who this home is.",
    ]


def _other_facts(plan: Plan) -> list[str]:
    code = [
        f"it also runs code that is not fedhome's, as the plan names it: {named}. What that does "
        "with the readings, nobody here can say."
        for named in code_at_home(plan)
    ]
    return [
        "the device runs the fedhome that is installed on it, and no code that a server sends.",
        *code,
        (
            "`fedhome client pause` stops taking part for a while, `leave` for good. What is in a "
            "sum or a model by then stays in it."
        ),
    ]


def _most_weight(plan: Plan) -> int:
    cap = plan.aggregation.greatest_weight
    return plan.rounds.max_examples if cap is None else min(cap, plan.rounds.max_examples)
