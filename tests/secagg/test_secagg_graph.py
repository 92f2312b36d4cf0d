"""Committee, groups, masking graph, and the numbers that keep the promises."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedhome.errors import ParameterError
from fedhome.secagg import chances, graph
from fedhome.secagg.parameters import Parameters

_SEED = bytes(range(32))


def _ids(count: int) -> list[str]:
    return [f"home-{number}" for number in range(count)]


def test_the_committee_has_the_lowest_hashes() -> None:
    homes = _ids(20)
    first = graph.committee(_SEED, homes, 5)
    hashed = {
        home: hashlib.sha256(b"fedhome/committee/1" + _SEED + home.encode()).hexdigest()
        for home in homes
    }
    assert [hashed[home] for home in first] == sorted(hashed.values())[:5]
    assert graph.committee(_SEED, homes[::-1], 5) == first
    assert graph.committee(bytes(32), homes, 5) != first
    with pytest.raises(ParameterError):
        graph.committee(_SEED, homes, 21)


@given(st.integers(1, 60), st.data())
def test_groups_divide_all_homes_evenly(count: int, data: st.DataObject) -> None:
    homes = _ids(count)
    parts = graph.groups(_SEED, homes, data.draw(st.integers(1, count)))
    assert sorted(home for part in parts for home in part) == sorted(homes)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(list(part) == sorted(part) for part in parts)
    assert graph.groups(_SEED, homes[::-1], len(parts)) == parts


def test_groups_are_others_in_every_epoch_and_in_it_always_the_same() -> None:
    homes = _ids(40)
    drawn = {graph.groups(seed, homes, 4) for seed in (_SEED, bytes(32)) for _ in range(2)}
    assert len(drawn) == 2
    for count in (0, 41):
        with pytest.raises(ParameterError):
            graph.groups(_SEED, homes, count)


@pytest.mark.parametrize("degree", [None, 9, 50])
def test_a_complete_graph_joins_all(degree: int | None) -> None:
    edges = graph.adjacency(_SEED, _ids(10), degree)
    assert (edges == ~np.eye(10, dtype=bool)).all()


def test_edges_are_drawn_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "_ROWS", 7)  # several bands of rows, the last one short
    homes, degree = _ids(24), 6
    edges = graph.adjacency(_SEED, homes, degree)
    cipher = Cipher(
        algorithms.AES(hashlib.sha256(b"fedhome/graph/1" + _SEED).digest()),
        modes.ECB(),  # noqa: S305
    ).encryptor()
    names = [int.from_bytes(hashlib.sha256(home.encode()).digest()[:8], "little") for home in homes]
    for i in range(24):
        assert not edges[i, i]
        for j in range(i):
            low, high = sorted((names[i], names[j]))
            block = cipher.update(low.to_bytes(8, "little") + high.to_bytes(8, "little"))
            wanted = Fraction(int.from_bytes(block[:8], "little"), 2**64) < Fraction(degree, 23)
            assert edges[i, j] == edges[j, i] == wanted


def test_an_edge_depends_on_the_two_homes_and_the_seed_alone() -> None:
    homes = _ids(300)
    edges = graph.adjacency(_SEED, homes, 40)
    order = np.random.default_rng(0).permutation(300)
    shuffled = graph.adjacency(_SEED, [homes[n] for n in order], 40)
    assert (shuffled == edges[np.ix_(order, order)]).all()
    # Half the homes with the same chance of an edge (40 / 299 = 20 / 149.5): 20 of 149 is more.
    half = graph.adjacency(_SEED, homes[:150], 20)
    assert half[edges[:150, :150]].all()
    assert (graph.adjacency(bytes(32), homes, 40) != edges).any()


def test_homes_have_as_many_neighbours_as_asked() -> None:
    edges = graph.adjacency(_SEED, _ids(1000), 98)
    assert (edges == edges.T).all()
    degrees = edges.sum(axis=1)
    # Binomial with 999 trials: a deviation of 9.4; the mean over pairs has one of 0.42.
    assert abs(degrees.mean() - 98) < 5 * 0.42
    assert degrees.std() == pytest.approx(9.4, rel=0.15)
    with pytest.raises(ValueError, match="read-only"):
        edges[0, 1] = True
    with pytest.raises(ParameterError):
        graph.adjacency(_SEED, _ids(5), 0)


# Chances, against scipy


@pytest.mark.parametrize(
    ("trials", "chance"), [(1, 0.5), (100, 0.1), (900, 0.098), (5, 1.0), (5, 0)]
)
def test_binomial_chances(trials: int, chance: float) -> None:
    logs = chances.binomial(trials, chance)
    hits = np.arange(trials + 1)
    reference = stats.binom(trials, chance)
    with np.errstate(divide="ignore"):
        for ours, theirs in (
            (logs, reference.logpmf(hits)),
            (chances.at_least(logs), np.log(reference.sf(hits - 1))),
            (chances.above(logs), np.log(reference.sf(hits))),
            (chances.below(logs), np.log(reference.cdf(hits - 1))),
        ):
            sure = theirs > -200
            assert ours[sure] == pytest.approx(theirs[sure], rel=1e-7, abs=1e-9)
            assert (ours[~sure] <= -199).all()


@pytest.mark.parametrize(("population", "bad", "drawn"), [(50, 5, 20), (1000, 100, 76), (9, 8, 5)])
def test_hypergeometric_chances(population: int, bad: int, drawn: int) -> None:
    reference = stats.hypergeom(population, bad, drawn).logpmf(np.arange(drawn + 1))
    ours = chances.hypergeometric(population, bad, drawn)
    assert (np.isinf(ours) == np.isinf(reference)).all()
    sure = np.isfinite(reference)
    assert ours[sure] == pytest.approx(reference[sure], rel=1e-7, abs=1e-8)


# Parameters


def _derive(homes: float, **other: float) -> Parameters:
    given = {"homes": homes, "pool": homes, "eligible": homes, **other}
    return Parameters.derive(**given)  # type: ignore[arg-type]


def test_a_small_fleet_by_hand() -> None:
    small = _derive(10)
    assert (small.n_min, small.a_min, small.degree, small.tau) == (5, 7, None, 6)
    # All ten serve; one may be corrupt: (10 + 1) // 2 + 1.
    assert (small.committee, small.corrupt, small.threshold) == (10, 1, 6)
    # Fewer than 6 of 10 answer, each with chance 0.7.
    assert small.failures["absent"] == pytest.approx(math.log2(stats.binom(10, 0.7).cdf(5)))
    assert small.failures["split"] == small.failures["committee"] == -math.inf
    assert _derive(5).a_min == 5
    assert _derive(100, corrupt=0.29).corrupt == 29  # 0.29 * 100 is 28.999... in floats


@pytest.mark.parametrize(
    ("corrupt", "committee"), [(0.05, (59, 20, 40)), (0.1, (76, 31, 54)), (0.2, (116, 57, 87))]
)
def test_committees_of_a_great_fleet(corrupt: float, committee: tuple[int, int, int]) -> None:
    great = _derive(1000, eligible=10**6, corrupt=corrupt, dropped=0.1)
    assert (great.committee, great.corrupt, great.threshold) == committee


@pytest.mark.long
@given(
    st.integers(5, 1500),
    st.floats(0, 0.2),
    st.floats(0, 0.3),
    st.integers(2, 1500),
    st.floats(1, 1.5),
)
def test_promises_hold_whatever_is_derived(
    homes: int, corrupt: float, dropped: float, eligible: int, spare: float
) -> None:
    pool = int(homes * spare)
    try:
        derived = Parameters.derive(
            homes=homes, pool=pool, eligible=eligible, corrupt=corrupt, dropped=dropped
        )
    except ParameterError as refused:
        assert refused.reason in ("corrupt", "committee")  # noqa: PT017
        return
    assert 2 * derived.threshold > derived.committee + derived.corrupt
    assert derived.corrupt < derived.threshold <= derived.committee <= eligible
    assert 5 <= derived.a_min <= homes
    assert derived.a_min >= homes * (1 - dropped) - 1e-6
    assert 0 < derived.tau < derived.a_min
    assert derived.failures["split"] <= -40
    assert derived.failures["committee"] <= -40
    assert derived.failures["sparse"] <= -20
    assert homes > 256 or derived.degree is None
    bad = math.floor(corrupt * pool + 1e-9)
    assert bad <= derived.a_min - 2  # at least two honest homes in any sum


@pytest.mark.parametrize("homes", [300, 1000, 3000])
def test_a_sparse_graph_keeps_its_bounds(homes: int) -> None:
    derived = _derive(homes)
    assert derived.degree is not None
    edge = derived.degree / (homes - 1)
    bad = homes // 10
    # One home whose neighbours in the sum are all corrupt is part of what is bounded.
    isolated = math.log2(homes - bad) + stats.binom(bad, edge).logsf(derived.tau - 1) / math.log(2)
    assert isolated <= derived.failures["split"] + 1e-9 <= -40 + 1e-9
    sparse = math.log2(homes) + stats.binom(derived.a_min - 1, edge).logcdf(
        derived.tau - 1
    ) / math.log(2)
    assert derived.failures["sparse"] == pytest.approx(sparse)
    assert sparse <= -20


def test_a_graph_of_the_derived_degree_leaves_every_home_its_neighbours() -> None:
    derived = _derive(1000)
    edges = graph.adjacency(_SEED, _ids(1000), derived.degree)
    kept = np.random.default_rng(0).permutation(1000)[: derived.a_min]
    assert edges[np.ix_(kept, kept)].sum(axis=1).min() >= derived.tau


def test_a_given_committee_is_kept_and_its_chances_said() -> None:
    given = _derive(1000, committee=60)
    assert given.committee == 60
    assert stats.hypergeom(1000, 100, 60).sf(given.corrupt) <= 2**-40
    assert stats.hypergeom(1000, 100, 60).sf(given.corrupt - 1) > 2**-40
    assert given.failures["absent"] > -20
    for size in (1, 1001):
        with pytest.raises(ParameterError):
            _derive(1000, committee=size)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"homes": 4}, "homes"),
        ({"min_cohort": 1}, "cohort"),
        ({"pool": 9}, "pool"),
        ({"eligible": 1}, "committee"),
        ({"corrupt": 1.0}, "shares"),
        ({"dropped": 1.0}, "shares"),
        ({"dropped": -0.1}, "shares"),
        ({"pool": 100}, "corrupt"),
        ({"corrupt": 0.9}, "corrupt"),
        ({"pool": 1000, "corrupt": 0.001, "eligible": 10, "committee": 11}, "committee"),
    ],
)
def test_what_cannot_hold_is_refused(changed: dict[str, float], reason: str) -> None:
    with pytest.raises(ParameterError) as refused:
        _derive(**{"homes": 10, **changed})
    assert refused.value.reason == reason


@pytest.mark.parametrize(("homes", "told"), [(1, "1 home is"), (4, "4 homes are")])
def test_how_many_homes_are_too_few_is_told_in_words_that_fit(homes: int, told: str) -> None:
    with pytest.raises(ParameterError, match=f"^{told} fewer than min_cohort = 5"):
        _derive(homes)


@pytest.mark.long
def test_a_committee_that_too_few_would_answer_is_refused() -> None:
    with pytest.raises(ParameterError) as refused:
        _derive(1000, eligible=10**5, corrupt=0.2, dropped=0.45)
    assert refused.value.reason == "committee"


def test_the_table_names_every_number() -> None:
    derived = _derive(1000)
    text = dict(derived.lines())
    assert text["masking neighbours"].startswith(f"{derived.degree}: ")
    assert text["answers to open"].startswith(f"{derived.threshold}: ")
    assert "falls into two with a chance of less than 1 in a trillion" in text["masking neighbours"]
    assert dict(_derive(10).lines())["masking neighbours"].startswith("all: ")
