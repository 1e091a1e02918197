from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from helpers.fept_errors import FEPT, PLATEAU
from helpers.tolerances import ROUNDING

from ensemble_mtl.analysis.verdict.comparison import Setting, compare, compare_task
from ensemble_mtl.analysis.verdict.pairs import Key
from ensemble_mtl.analysis.verdict.result import Comparison, percent
from ensemble_mtl.analysis.verdict.terms import Terms

NINE = Terms(comparisons=9)
ALL = ("H", "C", "M")


def zipped(repeats: int) -> list[Key]:
    return [(repeat, repeat) for repeat in range(repeats)]


def product(splits: int, seeds: int) -> list[Key]:
    return [(split, seed) for split in range(splits) for seed in range(seeds)]


def errors(keys: list[Key], log_ratio: float = 0.0, sd: float = 0.05, seed: int = 0) -> dict[Key, float]:
    random = np.random.default_rng(seed)
    return {key: math.exp(log_ratio + sd * random.standard_normal()) for key in keys}


def fept(subset: tuple[str, ...], task: str) -> Comparison:
    return compare(FEPT[subset, task], FEPT[(task,), task], NINE)


@pytest.mark.parametrize(
    ("subset", "task", "change", "low", "high", "overturning"),
    [
        (("H", "C"), "C", 16.6, 11, 23, 4.2),
        (ALL, "C", 10.1, 4, 17, 2.2),
        (ALL, "M", 12.4, 6, 19, 2.9),
        (("H", "M"), "M", 13.1, 5, 22, 2.8),
    ],
)
def test_published_losses_hold_on_their_split_only(
    subset: tuple[str, ...], task: str, change: float, low: int, high: int, overturning: float
) -> None:
    comparison = fept(subset, task)
    assert (comparison.verdict, comparison.scope, comparison.units) == ("loses", "this split", 12)
    assert comparison.mean is not None
    assert comparison.interval is not None
    assert comparison.overturning_sd is not None
    assert percent(comparison.mean) == pytest.approx(change, abs=0.1)
    assert [round(percent(end)) for end in comparison.interval] == [low, high]
    assert round(percent(comparison.overturning_sd), 1) == overturning


def test_published_comparisons_without_a_difference() -> None:
    words = {(subset, task): fept(subset, task).verdict for subset, task in FEPT if len(subset) > 1}
    same = {name for name, word in words.items() if word == "same"}
    assert same == {(ALL, "H"), (("C", "M"), "C")}
    undecided = {name for name, word in words.items() if word == "undecided"}
    assert undecided == {(("H", "C"), "H"), (("H", "M"), "H"), (("C", "M"), "M")}


def test_a_published_loss_of_five_seeds_hangs_on_single_ones() -> None:
    comparison = compare(PLATEAU[ALL, "C"], PLATEAU[("C",), "C"], Terms(comparisons=3))
    assert comparison.verdict == "loses"
    assert comparison.overturning_sd is not None
    assert round(percent(comparison.overturning_sd), 1) == 0.8
    assert comparison.hangs_on
    assert fept(("H", "C"), "C").hangs_on == ()


@pytest.mark.parametrize(
    ("keys", "scope", "units", "verdict"),
    [
        (product(1, 12), "this split", 12, "gains"),
        (product(2, 6), "these splits", 12, "gains"),
        (product(4, 3), "these splits", 12, "gains"),
        (zipped(4), "these splits", 4, "too few"),
        (zipped(5), "other random splits", 5, "gains"),
        (zipped(12), "other random splits", 12, "gains"),
        (product(6, 2), "other random splits", 6, "gains"),
        (product(12, 1), "this initialisation", 12, "gains"),
        (product(1, 4), "this split", 4, "too few"),
        (product(1, 1), "this split", 1, "too few"),
        ([], "this split", 0, "too few"),
    ],
)
def test_scope_and_units_follow_from_the_design(keys: list[Key], scope: str, units: int, verdict: str) -> None:
    comparison = compare(errors(keys, -0.5, 0.01), errors(keys, seed=1, sd=0.01), NINE, Setting(overlap=0.2))
    assert (comparison.scope, comparison.units, comparison.verdict) == (scope, units, verdict)
    elsewhere = comparison.splits >= 5
    assert (comparison.new_data is not None) == elsewhere
    assert (comparison.overturning_sd is not None) == (not elsewhere and units > 1 and comparison.interval is not None)


def test_a_wide_effect_is_expected_of_new_data_and_a_narrow_one_is_not() -> None:
    keys = zipped(12)
    single = errors(keys, seed=1)
    wide, narrow = (compare(errors(keys, effect), single, NINE, Setting(overlap=0.2)) for effect in (-1.0, -0.06))
    assert wide.new_data is not None
    assert narrow.new_data is not None
    assert (wide.verdict, narrow.verdict) == ("gains", "gains")
    assert (wide.new_data.expected, narrow.new_data.expected) == (True, False)


def test_pairs_that_are_missing_or_have_no_logarithm_are_counted() -> None:
    keys = zipped(12)
    multi, single = errors(keys, -0.2), errors(keys, seed=1)
    del multi[3, 3]
    single[5, 5] = math.nan
    comparison = compare(multi, single, NINE, Setting(planned=(*keys, (12, 12))))
    assert comparison.dropped == ((3, 3), (5, 5), (12, 12))
    assert (comparison.pairs, comparison.planned, comparison.units) == (10, 13, 10)
    rest = {key: value for key, value in multi.items() if key not in comparison.dropped}
    without = compare(rest, {key: single[key] for key in rest}, NINE)
    assert comparison.interval == without.interval


def test_a_fixed_split_with_one_member_leaves_no_interval() -> None:
    keys = [*product(2, 5), (2, 0)]
    comparison = compare(errors(keys, -0.5), errors(keys, seed=1), NINE)
    assert (comparison.units, comparison.interval, comparison.verdict) == (11, None, "too few")


@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, "too few"), (0.9, "undecided")])
def test_equal_differences_are_no_evidence(ratio: float, verdict: str) -> None:
    single = errors(zipped(12))
    comparison = compare({key: ratio * value for key, value in single.items()}, single, NINE)
    assert comparison.no_spread
    assert comparison.verdict == verdict
    assert (comparison.p, comparison.interval, comparison.detectable_effect, comparison.repeats_needed) == (None,) * 4


def test_units_of_the_error_do_not_matter() -> None:
    multi, single = errors(zipped(12), -0.1), errors(zipped(12), seed=1)
    first = compare(multi, single, NINE)
    scaled = compare(*({key: 1e-9 * value for key, value in side.items()} for side in (multi, single)), NINE)
    assert scaled.mean == pytest.approx(first.mean, rel=1e-9)  # logarithms of 1e-9 are twenty times as long
    assert scaled.verdict == first.verdict
    assert scaled.p == pytest.approx(first.p, rel=1e-9)


def test_exchanging_multi_and_single_mirrors_the_comparison() -> None:
    multi, single = errors(zipped(12), -0.3), errors(zipped(12), seed=1)
    there, back = compare(multi, single, NINE), compare(single, multi, NINE)
    assert (there.verdict, back.verdict) == ("gains", "loses")
    assert there.mean == pytest.approx(-(back.mean or 0.0), rel=ROUNDING)
    assert there.p == pytest.approx(back.p, rel=ROUNDING)
    assert there.hangs_on == back.hangs_on


def test_the_names_of_repeats_do_not_matter() -> None:
    multi, single = errors(zipped(12), -0.1), errors(zipped(12), seed=1)
    renamed = [{(11 - split, 50 - seed): value for (split, seed), value in side.items()} for side in (multi, single)]
    first, second = compare(multi, single, NINE), compare(*renamed, NINE)
    assert second.mean == pytest.approx(first.mean, rel=ROUNDING)
    assert second.interval == pytest.approx(first.interval, rel=ROUNDING)


@pytest.mark.parametrize("setting", [Setting(complete=False), Setting(in_family=False)])
def test_no_word_is_given_before_the_end_or_outside_the_family(setting: Setting) -> None:
    keys = zipped(12)
    comparison = compare(errors(keys, -0.5), errors(keys, seed=1), NINE, setting)
    assert comparison.verdict is None
    assert comparison.interval == compare(errors(keys, -0.5), errors(keys, seed=1), NINE).interval


def test_initial_values_that_splits_share_are_crossed() -> None:
    keys = product(8, 6)
    multi, single = errors(keys, -0.5), errors(keys, seed=1)
    old = compare(multi, single, NINE, Setting(shared_initial_values=True))
    assert (old.design, old.df, old.units, old.verdict) == ("crossed", 5, 6, "gains")
    assert (old.interaction_sd, old.interaction_limit) == (None, None)
    few = compare(
        *(errors(product(8, 4), *at) for at in ((-0.5,), (0.0, 0.05, 1))), NINE, Setting(shared_initial_values=True)
    )
    assert (few.units, few.verdict) == (4, "too few")
    del multi[0, 0]
    gap = compare(multi, single, NINE, Setting(shared_initial_values=True))
    assert (gap.units, len(gap.dropped), len(gap.unused)) == (5, 1, 7)


def test_what_a_verdict_hangs_on_is_named_by_split_and_seed() -> None:
    multi, single = PLATEAU[ALL, "C"], PLATEAU[("C",), "C"]
    assert compare(multi, single, Terms(comparisons=3)).hangs_on == ((0, 1), (0, 2), (0, 3), (0, 4))
    # the same differences on a split each: the same test, and other names
    renamed = [{(10 + seed, 20 + seed): error for (_, seed), error in side.items()} for side in (multi, single)]
    assert compare(*renamed, Terms(comparisons=3)).hangs_on == ((11, 21), (12, 22), (13, 23), (14, 24))
    # two members on each split: only the split has a name
    doubled = [side | {(split, 99): error for (split, _), error in side.items()} for side in renamed]
    assert compare(*doubled, Terms(comparisons=3)).hangs_on == ((11, None), (12, None), (13, None), (14, None))


def test_arithmetic_means_can_differ_the_other_way() -> None:
    keys = zipped(12)
    multi = {key: 3.0 if key == (0, 0) else 0.9 for key in keys}
    comparison = compare(multi, dict.fromkeys(keys, 1.0), NINE)
    assert comparison.mean is not None
    assert comparison.mean < 0
    assert comparison.arithmetic == pytest.approx((3 + 11 * 0.9) / 12 - 1)


@pytest.mark.parametrize("keys", [zipped(12), product(1, 12), product(3, 4), zipped(1), []])
def test_a_comparison_comes_back_from_json(keys: list[Key]) -> None:
    comparison = compare(errors(keys, -0.2), errors(keys, seed=1), NINE, Setting(overlap=0.2))
    text = json.dumps(comparison.model_dump(mode="json"), allow_nan=False)
    assert Comparison.model_validate(json.loads(text)) == comparison


@pytest.mark.parametrize("number", [lambda c: c.level, lambda c: c.terms.level])
def test_level_and_critical_values_are_kept(number: Callable[[Comparison], float]) -> None:
    comparison = fept(ALL, "H")
    assert number(comparison) == pytest.approx(0.04)
    assert comparison.critical is not None
    assert comparison.interval is not None
    assert comparison.se is not None
    assert comparison.interval[1] - comparison.interval[0] == pytest.approx(2 * comparison.critical * comparison.se)


def test_comparisons_of_a_task_borrow_spread_only_when_asked() -> None:
    keys = zipped(5)
    multi, single = [errors(keys, -0.2, seed=seed) for seed in (1, 2, 3)], errors(keys, seed=4)
    plain = compare_task(multi, single, NINE)
    assert plain == tuple(compare(side, single, NINE) for side in multi)
    borrowed = compare_task(multi, single, NINE, borrow=True)
    for before, after in zip(plain, borrowed, strict=True):
        assert before.df is not None
        assert after.df == pytest.approx(before.df + after.borrowed_df)
        assert 0 < after.borrowed_df <= 4
        assert after.mean == before.mean
