"""What people are told before their home takes part, word for word, and held to the code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fedhome.clients import client_app, home
from fedhome.clients.membership.consent import Invitation, consent_text, is_plain
from fedhome.clients.membership.consent_record import ConsentRecord, check_consent, plan_digest
from fedhome.clients.membership.consent_summary import short_of
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.clients.protocol_questions import PROTOCOL
from fedhome.errors import RunError
from fedhome.fleet.entries import Anchor
from fedhome.learning.plan_notes import notes_on
from fedhome.plan.settings import Plan
from fedhome.questions import outcomes, private_sums
from fedhome.questions.question_table import SUMMED
from fedhome.questions.settings import census_faults

SETTINGS = ["personalise.rates=[1.0]", "personalise.epochs=2"]
SECURE = """\
WHAT YOU AGREE TO

  home    oak
  fleet   000102030405060708090a0b0c0d0e0f
  server  hub.example:9443
  plan    default: learns to predict load_kwh

This device learns from its readings, and other homes from theirs: one model
for all. The readings stay on this device.

What leaves it:
  * hidden under masks, which cancel in sums alone: how this home would change
    the model (5,761 numbers), how many examples it has, and how well models
    do on its readings.
  * readable for the server: its name and keys, its internet address, which
    fedhome it runs, when it is connected, when it answers, and how long its
    answers are.

Who can read what:
  * a server that keeps to the rules: sums over at least 5 homes. Many of them
    tell it roughly what this home adds, as homes add no noise.
  * a server that breaks the rules: this home's own change of the model, from
    which parts of its readings can be worked out. Agree only if you trust
    whoever runs the server.
  * other homes and the fleet's owner: this home's name and keys, and the
    fleet's model, which says what homes learnt together.

What it costs this device:
  * it trains in up to 40 rounds a run, and takes part in at most 279 sums a
    day; in each it is sent the model and answers.

How to say no:
  * now: answer no. Nothing is written, nothing is sent.
  * later: `fedhome client pause` for a while, `fedhome client leave` for
    good. What is in a sum or a model by then stays in it.

ALL OF IT, POINT BY POINT

The readings stay on this device. What is listed here goes over an encrypted connection
to the server named above, and this home tells it to nobody else.

In sums only, each number hidden under masks that cancel in the sum over many homes:
  * at the beginning: how many examples it has, by powers of two.
  * in a round of training: how the home would change the model (5,761 numbers), and the
    number of its training examples, by which that is weighted (1,000,000 at most); its
    error in training; whether the change was shortened (with some strategies); how
    large the change is, by powers of two.
  * when the fleet's model is tested: the number of its validation examples, by which
    the rest is weighted; the loss of the fleet's model on this home's validation rows;
    its score on them.
  * when the model of some rounds is tested as homes would make it their own: the number
    of its validation examples, by which the rest is weighted; the loss of the model,
    once adapted to this home, on its validation rows; its score on them.
  * when the fleet learns how to adapt its model: by what factor each of 3 ways to adapt
    the model changes the loss on this home's validation rows; the same of 10 ways to
    train one without the fleet.
  * when the fleet learns how to mix predictions: how the errors of 5 models go together
    on this home's validation rows, two by two.
  * when the fleet learns how far homes mix by their own rows: the error of its own
    mixture on validation rows that it was not fitted to, for each of 7 degrees to which
    it may follow the fleet's.
  * at the end: which model weighs most in its mixture; which model was best alone; the
    score of no learning on its test rows, itself and as one of at most 80 steps: fewer
    in a small fleet, so that each is expected to hold several homes; of what was a
    step, a day, a week or a year ago; of a linear model fitted alone; of trees fitted
    alone; of the network learnt alone, tuned by the home's own rows; of the network
    learnt alone as suits the whole fleet; of that one of these which was best on the
    home's validation rows; of the fleet's model, and whether that is surely better or
    worse than alone; of the fleet's model adapted to this home, and the same; of what
    the home ends with, and the same; whether the same model trained twice could be told
    apart; the weights of its mixture.
  * with each of these: whether it had nothing to add (then all its other numbers are
    nothing).

Of this home alone, readable for the server:
  * its name (oak) and its two public keys; the fleet's owner and all homes of the fleet
    get them too, in the fleet's directory.
  * the public key of its connection, the release and build of fedhome that it runs,
    which release of the fleet's model it has, its internet address, when it is
    connected, which sums it takes part in, and of each answer the size and when it
    came.
  * before the first round: how many inputs and outputs its model has; or in one word
    that its readings cannot be used, or do not have the plan's inputs.
  * where a question is not as this plan says, or it could not connect: one word of a
    fixed list that says why. What fails on this device while it learns is told to
    nobody: it then adds nothing, under masks as always.
  * if it leaves the fleet: that it does.

For the secret sums of the fleet:
  * ahead of a sum: one-time public keys, and their secrets in pieces, each sealed for
    one member of the fleet's committee; the server cannot open them. To open a sum,
    members open one secret of each home: of its mask if it is in the sum, of its key if
    it vanished, never both.
  * to open a sum, if the fleet's directory makes this home a member of the committee:
    its vote on who is in the sum, and its pieces of other homes' one-time secrets. They
    say nothing of this home.

How often:
  * of everything that is asked about one model (to train it, to test it, to adapt it,
    to count at the end), one sum is opened, and the count at the beginning once for as
    long as the fleet's directory stays: homes of the committee help to open no second
    one. This home tries at most 8 times.
  * in at most 279 sums a day: those of three runs of this plan. `fedhome client ledger`
    lists them.

What a server that keeps to the rules learns:
  * sums over at least 5 homes; this home takes part in no smaller one.
  * the fleet's model, which is made of these sums; all homes and the fleet's owner can
    have it. Whoever has those of two rounds knows roughly the mean of what all homes
    learnt in between.
  * a sum still says something of the homes in it, and two sums over the same homes but
    for one differ by that one. Homes add no noise against this. From many sums over
    changing sets of homes, the number of this home's examples can be worked out, and
    over many rounds roughly how it changes the model; and from two rounds whose models
    hardly differ, of which it is in one, roughly that, and how well the model does on
    its validation rows.
  * from two runs of which this home is in only one, while readings stay the same: how
    well no learning does in it, and models that it trains without the fleet. No model
    of the fleet moves these numbers, so the difference of the two sums is this home's.

What a server that breaks the rules can learn today, without any home refusing:
  * this home's own update: by models made so that all other homes have nothing to add.
    Also by asking about two models that differ in last digits alone, the second time
    without this home. Only noise would prevent that, and homes add none.
  * single rows of the readings of the homes in a sum, each with all that the model
    takes in at once: by models made so that one row alone moves two of their numbers.
    Whose row it is, the sum does not say.
  * how well models do on this home's validation rows: in the same way, by two models
    that hardly differ. About one model, members open no second sum that is nearly the
    same.
  * in how many of all homes a reading is above a bound: by models made so that such a
    home has nothing to add. It does not learn which homes these are.
  * roughly how long this home computes, and so how many examples it has: from when its
    answers come.
  * what this home sent in the last day, if whoever recorded it gets hold of this home's
    keys, or of those of enough members, before they are erased, which is within a day.

Agree only if you trust whoever runs the server to keep to the rules.

The sums hide this home only if this holds, too:
  * at most 10 % of the fleet's homes (rounded down, but one in any fleet) work for
    whoever attacks. If all others in a sum did, they could take their own parts off it.
  * the fleet's owner lists real homes only, and keeps the key that signs the list away
    from the server.
  * the devices run fedhome as it was released. Its protocol has had no outside review.

What is in no message:
  * the readings: no row, no value, no time of any, nor where they lie. What can be
    worked out by a server that breaks the rules is said above.
  * the model that this home adapts to itself.
  * the secret keys that tell who this home is.

And:
  * the device runs the fedhome that is installed on it, and no code that a server
    sends.
  * `fedhome client pause` stops taking part for a while, `leave` for good. What is in a
    sum or a model by then stays in it.
"""
PLAIN = """\
THIS PLAN IS PLAIN: THE SERVER READS THIS HOME'S OWN UPDATE
===========================================================

Nothing is added up in secret. Each update goes to the server readable, and so
do losses and scores of this home alone. From an update, parts of the readings
behind it can be worked out. Agree only if whoever runs the server may know
them.

WHAT YOU AGREE TO

  home    oak
  fleet   000102030405060708090a0b0c0d0e0f
  server  hub.example:9443
  plan    default: learns to predict load_kwh

This device learns from its readings, and other homes from theirs: one model
for all. The readings stay on this device.

What leaves it:
  * readable for the server: the model as this home has trained it (5,761
    numbers), how many examples it has, and how well models do on its
    readings.
  * readable for the server: its name and keys, its internet address, which
    fedhome it runs, when it is connected, when it answers, and how long its
    answers are.

Who can read what:
  * the server: all of the above.
  * other homes and the fleet's owner: this home's name and keys, and the
    fleet's model, which says what homes learnt together.

What it costs this device:
  * it trains in up to 40 rounds a run; in each it is sent the model and
    answers.

How to say no:
  * now: answer no. Nothing is written, nothing is sent.
  * later: `fedhome client pause` for a while, `fedhome client leave` for
    good. What is in a sum or a model by then stays in it.

ALL OF IT, POINT BY POINT

The readings stay on this device. What is listed here goes over an encrypted connection
to the server named above, and this home tells it to nobody else.

Readable, as this home's own:
  * in a round of training: the model as the home has trained it (5,761 numbers), the
    number of its training examples (1,000,000 at most), its error in training, and
    whether the change was shortened.
  * when the fleet's model is tested: the loss and the score of the model on this home's
    validation rows, and their number.
  * when the model of some rounds is tested as homes would make it their own: the loss
    and the score of the model, once adapted to this home, on its validation rows, and
    their number.
  * when the fleet learns how to adapt its model: by what factor each of 3 ways to adapt
    the model, and each of 10 ways to train one without the fleet, changes the loss on
    this home's validation rows.
  * when the fleet learns how to mix predictions: how the errors of 5 models go together
    on this home's validation rows.
  * when the fleet learns how far homes mix by their own rows: the error of its own
    mixture on validation rows that it was not fitted to, for each of 7 degrees to which
    it may follow the fleet's.
  * at the end: the weights of its mixture, which model was best alone, whether the
    fleet helped or hurt it, the loss and all measures of each model on its test rows,
    and its numbers of training, validation and test examples.

Of this home alone, readable for the server:
  * its name (oak) and its two public keys; the fleet's owner and all homes of the fleet
    get them too, in the fleet's directory.
  * the public key of its connection, the release and build of fedhome that it runs,
    which release of the fleet's model it has, its internet address, when it is
    connected, which rounds it takes part in, and of each answer the size and when it
    came.
  * before the first round: how many inputs and outputs its model has; or in one word
    that its readings cannot be used, or do not have the plan's inputs.
  * where it cannot answer, or could not connect: one word of a fixed list that says
    why.
  * if it leaves the fleet: that it does.

For the secret sums of the fleet:
  * ahead of a sum: one-time public keys, and their secrets in pieces, each sealed for
    one member of the fleet's committee; the server cannot open them. To open a sum,
    members open one secret of each home: of its mask if it is in the sum, of its key if
    it vanished, never both.
  * to open a sum, if the fleet's directory makes this home a member of the committee:
    its vote on who is in the sum, and its pieces of other homes' one-time secrets. They
    say nothing of this home.

What is in no message:
  * the readings: no row, no value, no time of any, nor where they lie. What can be
    worked out from an update is said above.
  * the model that this home adapts to itself.
  * the secret keys that tell who this home is.

And:
  * the device runs the fedhome that is installed on it, and no code that a server
    sends.
  * `fedhome client pause` stops taking part for a while, `leave` for good. What is in a
    sum or a model by then stays in it.
"""

ASKED = {**SUMMED, **PROTOCOL}


def asked(*sets: str, parameters: int | None = 5761) -> Invitation:
    return Invitation(
        home="oak",
        fleet=bytes(range(16)),
        server="hub.example:9443",
        plan=Plan.load(sets=[*SETTINGS, *sets]),
        parameters=parameters,
    )


def test_the_text_of_a_secure_plan() -> None:
    assert consent_text(asked()) == SECURE
    for mode in ("secure", "ideal"):  # a real home makes secret sums of it
        assert consent_text(asked(f"aggregation.mode={mode}")) == SECURE


def test_people_are_told_what_a_method_of_several_models_shows() -> None:
    """That it does is in tests/questions/test_chosen_models.py."""
    told = " ".join(consent_text(asked("method.name=ifca")).split())
    assert "of one that this home alone chose it is this home's own update" in told
    assert "this home alone chose" not in SECURE
    noted = notes_on(Plan.load(method={"name": "ifca"}))
    assert any("of one that a single home chose, that home's update" in note for note in noted)
    assert not notes_on(Plan.load(method={"name": "ifca"}, aggregation={"mode": "plain"}))


def test_the_text_of_a_plain_plan_says_so_first() -> None:
    assert consent_text(asked("aggregation.mode=plain")) == PLAIN
    assert PLAIN.startswith("THIS PLAN IS PLAIN: THE SERVER READS THIS HOME'S OWN UPDATE\n")


@pytest.mark.parametrize("mode", ["plain", "secure"])
def test_where_a_release_tells_scores_by_tier_people_are_told_so(mode: str) -> None:
    tiers = [{"name": "hub", "width": 1.0, "depth": 2, "share": 1.0}]
    counted = {} if mode == "plain" else {"weights": "equal"}
    plan = Plan.load(slicing={"tiers": tiers}, aggregation={"mode": mode, **counted})
    invitation = replace(asked(), plan=plan)
    told = " ".join(consent_text(replace(invitation, tier="hub")).split())
    assert "which kind of device it is (hub)" in told
    known = "each release tells all homes the mean over those of hub, where at least 5 said so"
    assert (known in told) == (mode == "plain")
    assert "each release tells" not in consent_text(invitation)


def test_the_text_has_the_plans_own_numbers() -> None:
    text = consent_text(
        asked(
            "aggregation.min_cohort=7",
            "aggregation.groups=3",
            "aggregation.corrupt=0.25",
            "aggregation.weight_cap=4096",
            "personalise.epochs=4",
            "data.target=heat",
            parameters=None,
        )
    )
    flat = " ".join(text.split())
    for words in (
        "3 sums a round, each over at least 7 homes",
        "at most 25 % of the fleet's homes (rounded down, but one in any fleet)",
        "(4,096 at most)",
        "each of 5 ways to adapt",
        "learns to predict heat",
        "how the home would change the model (all its numbers)",
    ):
        assert words in flat


def test_the_text_says_by_what_a_home_counts() -> None:
    rounded, equal = (
        " ".join(consent_text(asked(f"aggregation.weights={rule}")).split())
        for rule in ("rounded", "equal")
    )
    assert "the number of its training examples, to the nearest power of two, by which" in rounded
    assert "this home's examples can be worked out to the nearest power of two, and" in rounded
    assert "whether it has training examples: all homes count alike" in equal
    assert "examples can be worked out" not in equal


@pytest.mark.parametrize("mode", ["auto", "secure", "ideal", "plain"])
def test_the_text_and_the_home_agree_on_what_is_plain(mode: str) -> None:
    plan = Plan.load(sets=[f"aggregation.mode={mode}"])
    assert is_plain(plan) == (home._mode(plan) == "plain") == (mode == "plain")


def test_every_question_that_a_home_answers_is_in_the_text() -> None:
    assert set(ASKED) == set(client_app.handlers())
    secure, plain = (" ".join(text.split()) for text in (SECURE, PLAIN))
    for kind, question in ASKED.items():
        said = question.consent
        told = said.when != "never" and (kind in PROTOCOL or SUMMED[kind].times(Plan()) > 0)
        assert (f"* {said.when}" in secure) == told, kind
        assert (f"* {said.when}" in plain) == (told and kind != "query.census"), kind


def test_every_number_of_a_sum_is_in_the_text() -> None:
    config, plan = {"server-round": 1, "clipping_norm": 1.0, "bins": 8}, Plan.load(sets=SETTINGS)
    for kind, question in SUMMED.items():
        stems = {one.name.partition("-")[0] for one in question.scalars(config, plan.personalise)}
        assert stems == set(question.consent.numbers), kind
    assert f"one of at most {outcomes.MOST_BINS} steps" in " ".join(SECURE.split())


NOISE = ["privacy.mechanism=discrete-gaussian", "privacy.epsilon=2", "privacy.clip=0.3"]


def test_the_text_of_a_plan_with_noise_says_what_it_promises() -> None:
    text = consent_text(asked(*NOISE))
    flat = " ".join(text.split())
    for said in (
        "how the home would change the model (5,761 numbers), cut to a length of 0.3 where it is",
        "model on this home's validation rows; its score on them. With noise on each number.",
        "every home counts once: nobody asks how many examples it has.",
        "but for a factor of 7.39 at most (epsilon 2) and for a chance of 1 in 100,000.",
        "of this home's readings change by a factor of 77.8 at most (epsilon 4.35).",
        "refuses each sum above its ceiling: `fedhome client privacy` shows and sets it.",
        "when this home answers has no noise: it tells how long it computes.",
        "or if that bound is enough for you.",
    ):
        assert said in flat, said
    for not_asked in ("powers of two", "its error in training", "ways to adapt", "add no noise"):
        assert not_asked not in flat, not_asked
    assert max(map(len, text.splitlines())) <= 88


def test_the_text_with_noise_names_every_number_that_is_asked() -> None:
    flat = " ".join(consent_text(asked(*NOISE)).split())
    config, plan = {"server-round": 1, "bins": 8}, Plan.load(sets=SETTINGS)
    for kind in private_sums.ASKED:
        scalars = private_sums.scalars_of(kind, SUMMED[kind].scalars(config, plan.personalise), 16)
        meanings = SUMMED[kind].consent.numbers
        for stem in {scalar.name.partition("-")[0] for scalar in scalars}:
            assert meanings[stem].format(bins=outcomes.MOST_BINS) in flat, stem


@pytest.mark.parametrize("sets", [[], ["aggregation.mode=plain"], NOISE], ids=str)
def test_a_screen_says_what_matters_before_every_point(sets: list[str]) -> None:
    text = consent_text(asked(*sets))
    short = short_of(text)
    assert text.startswith(short)
    assert len(short.splitlines()) <= 40
    assert max(map(len, short.splitlines())) <= 80
    for title in ("What leaves it:", "Who can read what:", "What it costs", "How to say no:"):
        assert f"\n{title}" in short
    for said in ("The readings stay on this device.", "fedhome client leave", "Agree only if"):
        assert said in " ".join(short.split())


def test_the_screen_says_who_can_learn_this_homes_update_or_that_noise_bounds_it() -> None:
    secure, noisy, equal = (
        " ".join(short_of(consent_text(asked(*sets))).split())
        for sets in ([], NOISE, ["aggregation.weights=equal"])
    )
    assert "a server that breaks the rules: this home's own change of the model" in secure
    assert "breaks the rules" not in noisy
    assert "by a factor of 77.8 at most" in noisy
    assert "how many examples" in secure
    assert "how many examples" not in equal + noisy
    own = replace(asked(), plan=Plan.load(sets=["model.name=my_net:Net"]))
    assert "it runs code that is not fedhome's: model 'my_net:Net'" in short_of(consent_text(own))


@pytest.mark.parametrize("sets", [["aggregation.weights=equal"], ["aggregation.weight_cap=4096"]])
def test_a_count_of_examples_that_homes_refuse_is_none_of_the_points(sets: list[str]) -> None:
    """Both parts of the text say the same: a plan that names the greatest weight asks no count."""
    count = "at the beginning: how many examples it has, by powers of two"
    assert any(census_faults({}, asked(*sets).plan))
    for said in (count, "the count at the beginning"):
        assert said not in " ".join(consent_text(asked(*sets)).split())
        assert said in " ".join(consent_text(asked()).split())


def test_what_an_older_fedhome_showed_is_shown_whole() -> None:
    older = "WHAT LEAVES THIS DEVICE\n\n  home    oak\n\nAnd:\n  * nothing.\n"
    assert short_of(older) == older


def test_a_weak_promise_is_told_as_one() -> None:
    assert "but for a factor of 10^18 at most" in consent_text(asked(*NOISE, "privacy.epsilon=40"))


@pytest.fixture
def place(tmp_path: Path) -> HomeFolder:
    """A home's folder, without keys."""
    place, plan = HomeFolder(tmp_path), Plan.load(sets=SETTINGS)
    place.fill(
        HomeSettings(home="oak", server="hub.example:9443", data="/data"),
        plan=plan,
        anchor=Anchor(fleet=bytes(16), authority=bytes(32)),
        authorities=b"",
    )
    ConsentRecord(plan=plan_digest(plan), text=SECURE, invite="00").keep(place)
    return place


def test_a_consent_is_kept_with_its_text(place: HomeFolder) -> None:
    kept = check_consent(place)
    assert kept.text == SECURE
    assert kept == ConsentRecord.of(place)
    told = json.loads((place.path / "consent.json").read_text())
    assert sorted(told) == ["invite", "plan", "release", "text", "text_sha256", "time"]
    assert told["text_sha256"] == kept.digest


def test_an_altered_consent_is_none(place: HomeFolder) -> None:
    path = place.path / "consent.json"
    sound = path.read_text()
    for other in (sound.replace("5,761", "5,762"), "", "{}", "[1]", sound[:-9]):
        path.write_text(other)
        assert ConsentRecord.of(place) is None
        with pytest.raises(RunError, match="nobody has agreed"):
            check_consent(place)
    path.write_text(sound)
    check_consent(place)


def test_a_consent_is_to_one_plan(place: HomeFolder) -> None:
    path = place.plan_path
    path.write_text(path.read_text().replace("count = 40", "count = 41"))
    with pytest.raises(RunError, match="not the plan that was agreed to"):
        check_consent(place)
