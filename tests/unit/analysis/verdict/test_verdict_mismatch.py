from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from helpers.tolerances import ROUNDING
from scipy import stats

from ensemble_mtl.analysis.verdict.mismatch import PairStudy, ranks, relation
from ensemble_mtl.analysis.verdict.permutations import MAX_EXACT, SAMPLED, joint_number, relabelings

RANDOM = np.random.default_rng(6)


def table(values: object, tasks: int) -> np.ndarray:
    full = np.zeros((tasks, tasks))
    full[np.triu_indices(tasks, 1)] = values
    return full + full.T


def study(tasks: int, log_ratios: object, *mismatches: object, shared: str = "", name: str = "s") -> PairStudy:
    measures = {f"m{index}": table(values, tasks) for index, values in enumerate(mismatches)}
    return PairStudy(name, tuple("ABCDEFGHIJ"[:tasks]), table(log_ratios, tasks), measures, shared)


def random_study(tasks: int, measures: int = 1, shared: str = "") -> PairStudy:
    pairs = tasks * (tasks - 1) // 2
    return study(tasks, *RANDOM.standard_normal((1 + measures, pairs)), shared=shared)


def upper(values: np.ndarray) -> np.ndarray:
    return values[np.triu_indices(len(values), 1)]


def relabeled(values: np.ndarray, labels: tuple[int, ...]) -> np.ndarray:
    return upper(values[np.ix_(labels, labels)])


def brute_force(studies: list[PairStudy]) -> tuple[float, float]:
    """p and the smallest p over all joint relabelings, each study with its own, by scipy's rank correlation."""
    measures = sorted(studies[0].mismatches)

    def largest(labels: tuple[tuple[int, ...], ...]) -> float:
        sums = []
        for measure in measures:
            parts = [
                (math.comb(len(entry.tasks), 2) - 1)
                * stats.spearmanr(relabeled(entry.mismatches[measure], order), upper(entry.log_ratios)).statistic
                for entry, order in zip(studies, labels, strict=True)
            ]
            sums.append(abs(math.fsum(parts)))
        return max(sums)

    orders = [list(itertools.permutations(range(len(entry.tasks)))) for entry in studies]
    values = np.array([largest(labels) for labels in itertools.product(*orders)])
    observed = largest(tuple(order[0] for order in orders))
    return float(np.mean(values >= observed - 1e-9)), float(np.mean(values >= values.max() - 1e-9))


@pytest.mark.parametrize("sizes", [(3,), (4,), (5,), (3, 4), (3, 3, 3)])
@pytest.mark.parametrize("measures", [1, 3])
def test_p_is_the_share_of_relabelings(sizes: tuple[int, ...], measures: int) -> None:
    studies = [random_study(size, measures) for size in sizes]
    result = relation(studies)
    assert result.exact
    assert result.relabelings == joint_number(sizes)
    assert (result.p, result.smallest_p) == pytest.approx(brute_force(studies), rel=ROUNDING)


def test_correlations_are_spearmans() -> None:
    entries = [random_study(4, 2), random_study(6, 2)]
    result = relation(entries)
    for measure in ("m0", "m1"):
        values = [stats.spearmanr(upper(e.mismatches[measure]), upper(e.log_ratios)).statistic for e in entries]
        assert result.correlations[measure] == pytest.approx(values, rel=1e-9)
        assert result.statistics[measure] == pytest.approx(5 * values[0] + 14 * values[1], rel=1e-9)
        assert result.pooled[measure] == pytest.approx((5 * values[0] + 14 * values[1]) / 19, rel=1e-9)


def test_a_relation_of_five_tasks_rises_or_falls() -> None:
    values = RANDOM.standard_normal(10)
    rising, falling = relation([study(5, values, values)]), relation([study(5, -values, values)])
    assert (rising.answer, falling.answer) == ("rising", "falling")
    assert rising.p == falling.p
    assert rising.p is not None
    assert rising.p < 0.05


def test_three_tasks_cannot_show_a_relation() -> None:
    result = relation([study(3, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0])])
    assert result.answer == "cannot be shown"
    assert result.smallest_p == pytest.approx(1 / 3)
    assert result.pooled["m0"] == pytest.approx(1.0)


def test_four_tasks_have_a_smallest_p_of_a_twenty_fourth() -> None:
    # in these ranks no relabeling turns the order of the pairs into its mirror image
    result = relation([study(4, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])])
    assert result.smallest_p == pytest.approx(1 / 24)
    assert result.answer == "rising"


def test_the_largest_of_several_measures_pays_for_the_others() -> None:
    values = np.arange(10.0)
    values[[0, 5]] = values[[5, 0]]
    single = study(5, np.arange(10.0), values)
    several = study(5, np.arange(10.0), values, *RANDOM.standard_normal((9, 10)))
    first, second = relation([single]), relation([several])
    assert second.measure == "m0"
    assert first.p is not None
    assert second.p is not None
    assert second.p >= first.p


def test_studies_of_the_same_data_are_relabeled_together() -> None:
    values, noise = RANDOM.standard_normal(6), RANDOM.standard_normal(6)
    alone = relation([study(4, values, noise)])
    copies = [study(4, values, noise, shared="FePt", name=name) for name in "abcd"]
    together = relation(copies)
    assert together.p == alone.p  # four copies are no more evidence than one
    assert together.relabelings == 24
    independent = relation([study(4, values, noise, name=name) for name in "ab"])
    assert independent.relabelings == 24**2


def test_large_pools_are_sampled_with_a_seed() -> None:
    entries = [random_study(5) for _ in range(3)]
    assert joint_number((5, 5, 5)) > MAX_EXACT
    first, again, other = relation(entries), relation(entries), relation(entries, seed=1)
    assert not first.exact
    assert first.relabelings == SAMPLED
    assert first.smallest_p == pytest.approx(1 / (1 + SAMPLED))
    assert first == again
    assert first.p is not None
    assert other.p is not None
    # both are estimates of one p from 9,999 draws: five standard errors of their difference
    assert abs(first.p - other.p) < 5 * math.sqrt(2 * 0.25 / SAMPLED)


def test_a_sample_estimates_the_exact_p() -> None:
    entries = [random_study(4), random_study(4)]
    exact = relation(entries)
    assert exact.exact
    assert exact.p is not None
    drawn, complete = relabelings([8, 8], seed=3)
    assert not complete
    assert all((np.sort(rows, axis=1) == np.arange(8)).all() for rows in drawn)
    assert not np.array_equal(*drawn)


def test_order_and_names_of_tasks_do_not_matter() -> None:
    entry = random_study(5, 2)
    order = RANDOM.permutation(5)
    chosen = np.ix_(order, order)
    renamed = PairStudy(
        "other",
        tuple("VWXYZ"),
        entry.log_ratios[chosen],
        {measure: values[chosen] for measure, values in entry.mismatches.items()},
    )
    first, second = relation([entry]), relation([renamed])
    assert second.p == first.p
    assert second.statistics == pytest.approx(first.statistics, rel=ROUNDING)


def test_only_ranks_matter() -> None:
    entry = random_study(5)
    stretched = study(5, np.exp(3 * upper(entry.log_ratios)), upper(entry.mismatches["m0"]) ** 3)
    assert relation([stretched]).p == relation([entry]).p


def test_tasks_with_missing_pairs_are_left_out() -> None:
    entry = random_study(5)
    gaps = entry.log_ratios.copy()
    gaps[1, 3] = gaps[3, 1] = gaps[3, 4] = gaps[4, 3] = np.nan
    result = relation([PairStudy("s", entry.tasks, gaps, entry.mismatches)])
    assert result.left_out == (("D",),)
    assert result.tasks == (4,)
    rest = np.ix_([0, 1, 2, 4], [0, 1, 2, 4])
    whole = PairStudy("s", tuple("ABCE"), entry.log_ratios[rest], {"m0": entry.mismatches["m0"][rest]})
    assert result.p == relation([whole]).p


def test_a_measure_that_is_constant_or_missing_adds_nothing() -> None:
    entry = random_study(5)
    values = dict(entry.mismatches)
    with_constant = PairStudy("s", entry.tasks, entry.log_ratios, {**values, "flat": table(np.ones(10), 5)})
    broken = table(RANDOM.standard_normal(10), 5)
    broken[0, 1] = broken[1, 0] = np.nan
    with_gap = PairStudy("s", entry.tasks, entry.log_ratios, {**values, "gap": broken})
    for changed, measure in ((with_constant, "flat"), (with_gap, "gap")):
        result = relation([changed])
        assert result.p == relation([entry]).p
        assert result.correlations[measure] == (None,)


def test_small_studies_and_empty_pools_show_nothing() -> None:
    for entries in ([], [random_study(2)], [study(4, np.zeros(6), np.arange(6.0))]):
        result = relation(entries)
        assert result.answer == "cannot be shown"
        assert result.p is None


def test_ties_share_their_mean_rank() -> None:
    values = np.array([2.0, 1.0, 2.0, 5.0, 1.0, 1.0])
    np.testing.assert_array_equal(ranks(values), stats.rankdata(values))
