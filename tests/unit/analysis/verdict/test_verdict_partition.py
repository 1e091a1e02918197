from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from helpers.fept_errors import FEPT, PLATEAU, TASKS
from helpers.tolerances import ROUNDING
from scipy import stats

from ensemble_mtl.analysis.verdict.best import Losses, against, compare_with_the_best
from ensemble_mtl.analysis.verdict.choice import LISTED, choose_partition
from ensemble_mtl.analysis.verdict.comparison import Setting
from ensemble_mtl.analysis.verdict.estimate import estimate
from ensemble_mtl.analysis.verdict.pairs import Key, Name
from ensemble_mtl.analysis.verdict.partition import losses_on_units, partition_losses, partitions
from ensemble_mtl.analysis.verdict.terms import Terms
from ensemble_mtl.study.plan import Subset

Cells = dict[Name, dict[Key, float]]
RANDOM = np.random.default_rng(5)
TERMS = Terms(comparisons=9, margin=0.05)
SUBSETS: list[Subset] = sorted({subset for subset, _ in FEPT}, key=len)


def every_subset(tasks: str) -> list[Subset]:
    return [subset for size in range(1, len(tasks) + 1) for subset in itertools.combinations(tasks, size)]


def cells(tasks: str, keys: list[Key], sd: float = 0.02, together: float = 0.0, seed: int = 0) -> Cells:
    """Errors of all subsets; those of the full subset are shifted by ``together`` in log units."""
    random = np.random.default_rng(seed)
    return {
        (subset, task): {
            key: math.exp(together * (len(subset) == len(tasks)) + sd * random.standard_normal()) for key in keys
        }
        for subset in every_subset(tasks)
        for task in subset
    }


def repeats(number: int) -> list[Key]:
    return [(repeat, repeat) for repeat in range(number)]


@pytest.mark.parametrize(("size", "number"), [(1, 1), (2, 2), (3, 5), (4, 15), (5, 52), (6, 203)])
def test_all_subsets_form_as_many_partitions_as_bells_number(size: int, number: int) -> None:
    tasks = "ABCDEF"[:size]
    formed = list(partitions(tasks, every_subset(tasks)))
    assert len(set(formed)) == len(formed) == number
    for blocks in formed:
        assert sorted(itertools.chain(*blocks)) == sorted(tasks)


def test_only_partitions_of_trained_subsets_are_formed() -> None:
    planned: list[Subset] = [("A",), ("B",), ("C",), ("B", "C"), ("A", "B", "C")]
    assert set(partitions("ABC", planned)) == {(("A",), ("B",), ("C",)), (("A",), ("B", "C")), (("A", "B", "C"),)}
    assert list(partitions("ABC", planned[1:3])) == []


def test_a_loss_is_the_weighted_mean_of_log_errors_in_the_blocks() -> None:
    names: list[Name] = [(("A",), "A"), (("B",), "B"), (("A", "B"), "A"), (("A", "B"), "B")]
    losses = partition_losses(
        np.array([[1.0, 2.0, 3.0, 5.0]]), names, [(("A",), ("B",)), (("A", "B"),)], {"A": 0.25, "B": 0.75}
    )
    np.testing.assert_allclose(losses, [[0.25 + 1.5, 0.75 + 3.75]], rtol=ROUNDING)


def test_the_best_is_compared_with_all_by_paired_one_sided_tests() -> None:
    values = RANDOM.normal([0.0, 0.01, 0.1, 0.02], 0.03, (12, 4))
    compared = compare_with_the_best(Losses((values,), "across splits"), planned=5, level=0.04, margin=0.05)
    critical = stats.t.ppf(1 - 0.04 / 4, 11)  # four others of five planned ones
    assert compared.critical == pytest.approx(critical, rel=1e-8)
    for p in range(4):
        rows = [values[:, p] - values[:, q] for q in range(4) if q != p]
        lower = max(row.mean() - critical * stats.sem(row) for row in rows)
        upper = max(0.0, *(row.mean() + critical * stats.sem(row) for row in rows))
        assert bool(compared.may_be_best[p]) == (lower <= 0)
        assert float(compared.bound[p]) == pytest.approx(upper, rel=1e-7)
        assert bool(compared.within[p]) == (upper <= math.log(1.05))
    assert compared.may_be_best[int(values.mean(0).argmin())]


def test_studies_at_once_are_each_study_by_itself() -> None:
    values = RANDOM.normal(0, 0.03, (7, 6, 5))
    together = compare_with_the_best(Losses((values,), "across splits"), 5, 0.04, 0.05)
    for index in range(7):
        alone = compare_with_the_best(Losses((values[index],), "across splits"), 5, 0.04, 0.05)
        np.testing.assert_allclose(together.bound[index], alone.bound, rtol=ROUNDING)
        np.testing.assert_array_equal(together.may_be_best[index], alone.may_be_best)


@pytest.mark.parametrize(
    ("keys", "design"),
    [
        (repeats(12), "across splits"),
        ([(split, seed) for split in range(6) for seed in range(2)], "across splits"),
        ([(0, seed) for seed in range(12)], "fixed splits"),
        ([(split, seed) for split in range(6) for seed in range(5)], "crossed"),
    ],
)
def test_two_partitions_are_compared_as_a_task_is(keys: list[Key], design: str) -> None:
    """With one weighted task, the difference of alone and together is the log ratio of that task."""
    table = cells("AB", keys)
    losses = losses_on_units(
        table, [(("A",), ("B",)), (("A", "B"),)], {"A": 1.0, "B": 0.0}, shared_initial_values=design == "crossed"
    )
    splits = sorted({split for split, _ in keys})
    rows = [
        [math.log(table[("A", "B"), "A"][key] / table[("A",), "A"][key]) for key in keys if key[0] == split]
        for split in splits
    ]
    reference = estimate(np.array(rows), design)  # type: ignore[arg-type]
    assert losses.design == design
    assert losses.df == reference.df
    assert losses.units == reference.units
    difference, low, high = against(losses, 0, critical=2.0)
    assert float(difference[1]) == pytest.approx(float(reference.mean), rel=1e-9)
    assert float(high[1] - low[1]) == pytest.approx(4 * float(reference.se), rel=1e-9)


def test_a_few_fixed_splits_pool_the_variance_within_them() -> None:
    keys = [(0, seed) for seed in range(4)] + [(1, seed) for seed in range(8)]
    table = cells("AB", keys)
    for error in table.values():
        for key in error:
            error[key] *= 1 + 5 * key[0]  # a split that is harder for all is no spread
    losses = losses_on_units(table, [(("A",), ("B",)), (("A", "B"),)], {"A": 0.5, "B": 0.5})
    assert (losses.units, losses.df) == (12, 10)
    first, second = (block[:, 1] - block[:, 0] for block in losses.blocks)
    pooled = (3 * first.var(ddof=1) + 7 * second.var(ddof=1)) / 10
    assert float(losses.variances(0)[1]) == pytest.approx(pooled * (1 / 4 + 1 / 8) / 4, rel=1e-9)
    assert float(losses.mean[1] - losses.mean[0]) == pytest.approx((first.mean() + second.mean()) / 2, rel=1e-9)


def test_the_published_study_recommends_two_trunks() -> None:
    choice = choose_partition(FEPT, TASKS, SUBSETS, TERMS)
    by_name = {candidate.blocks: candidate for candidate in choice.candidates}
    alone, pair = by_name[("H",), ("C",), ("M",)], by_name[("H",), ("C", "M")]
    other = by_name[("H", "M"), ("C",)]
    assert {candidate.blocks for candidate in choice.candidates if candidate.within} == {alone.blocks, pair.blocks}
    assert choice.recommended == pair
    assert 100 * math.expm1(pair.bound) == pytest.approx(4, abs=0.5)
    assert 100 * math.expm1(other.excess) == pytest.approx(3.3, abs=0.05)
    assert (other.may_be_best, other.within) == (True, False)
    assert (choice.scope, choice.units, choice.planned, choice.level) == ("this split", 12, 5, pytest.approx(0.04))
    together = by_name[("H", "C", "M"),]
    assert not together.may_be_best
    assert together.versus_alone is not None
    assert together.versus_alone[1] > 0
    assert alone.versus_alone == (0.0, 0.0, 0.0)


def test_a_tight_margin_leaves_it_undecided() -> None:
    choice = choose_partition(PLATEAU, TASKS, SUBSETS, TERMS.model_copy(update={"margin": 0.05}))
    assert choice.recommended is None
    assert choice.obstacle == ""
    assert choice.cheapest_possible is not None
    assert choice.cheapest_possible.blocks == (("H", "C", "M"),)
    # the plan forms five partitions, two of which have results
    assert (choice.planned, len(choice.candidates)) == (5, 2)
    assert choice.critical == pytest.approx(stats.t.ppf(1 - 0.04 / 4, 4), rel=1e-8)


def test_the_cheapest_is_that_of_least_time_or_of_fewest_trunks() -> None:
    table = cells("AB", repeats(12), sd=0.005)
    measured: dict[Subset, float] = {("A",): 10.0, ("B",): 20.0, ("A", "B"): 50.0}
    timed = choose_partition(table, "AB", every_subset("AB"), TERMS, seconds=measured)
    assert timed.recommended is not None
    assert (timed.recommended.trunks, timed.recommended.seconds, timed.by_seconds) == (2, 30.0, True)
    del measured["A",]
    untimed = choose_partition(table, "AB", every_subset("AB"), TERMS, seconds=measured)
    assert untimed.recommended is not None
    assert (untimed.recommended.trunks, untimed.recommended.seconds, untimed.by_seconds) == (1, 50.0, False)


def test_weights_decide_what_is_lost() -> None:
    table = cells("AB", repeats(12), sd=0.005)
    for key in table[("A", "B"), "B"]:
        table[("A", "B"), "B"][key] *= 2
    heavy, light = (
        choose_partition(table, "AB", every_subset("AB"), TERMS, weights={"A": 1.0, "B": weight}).candidates[0]
        for weight in (1.0, 0.0)
    )
    assert heavy.blocks == (("A",), ("B",))
    assert heavy.within
    assert light.within


@pytest.mark.parametrize(
    ("table", "subsets", "setting", "obstacle"),
    [
        (
            cells("AB", repeats(4)),
            every_subset("AB"),
            Setting(),
            "4 repeats have all members; a recommendation needs 5",
        ),
        (cells("AB", repeats(12)), every_subset("AB"), Setting(complete=False), "interim"),
        (cells("AB", repeats(12)), [("A",), ("B",)], Setting(), "form 1 partition of"),
        (cells("AB", repeats(12)), [("A",)], Setting(), "form no partitions of"),
        ({}, every_subset("AB"), Setting(), "0 repeats"),
        ({}, every_subset("ABCDEFGHI"), Setting(), "more than 5,000 partitions"),
    ],
)
def test_nothing_is_recommended_without_a_comparison(
    table: Cells, subsets: list[Subset], setting: Setting, obstacle: str
) -> None:
    tasks = sorted({task for subset in subsets for task in subset} | set("AB"))
    choice = choose_partition(table, tasks, subsets, TERMS, setting)
    assert obstacle in choice.obstacle
    assert choice.recommended is None
    assert choice.cheapest_possible is None


def test_units_are_those_that_have_every_cell() -> None:
    table = cells("AB", repeats(12))
    del table[("A",), "A"][3, 3]
    table[("A", "B"), "B"][5, 5] = math.nan
    choice = choose_partition(table, "AB", every_subset("AB"), TERMS)
    assert (choice.units, choice.splits, choice.scope) == (10, 10, "other random splits")


def test_long_lists_end_after_the_lowest_of_the_rest() -> None:
    choice = choose_partition(cells("ABCDE", repeats(12), together=-1.0), "ABCDE", every_subset("ABCDE"), TERMS)
    assert len(choice.candidates) == 52
    within = [candidate for candidate in choice.candidates if candidate.within]
    assert [candidate.trunks for candidate in within] == [1]
    assert choice.listed() == (*within, *choice.candidates[1 : 1 + LISTED])


def test_eight_tasks_with_few_subsets_are_compared() -> None:
    tasks = "ABCDEFGH"
    planned = [subset for subset in every_subset(tasks) if len(subset) in (1, 2, 8)]
    table = {name: errors for name, errors in cells(tasks, repeats(6)).items() if name[0] in planned}
    choice = choose_partition(table, tasks, planned, TERMS)
    assert (choice.planned, len(choice.candidates)) == (765, 765)  # 764 ways to pair up eight, or not, and all together
