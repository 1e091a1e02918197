from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from helpers.fept_errors import FEPT, PLATEAU, TASKS

from ensemble_mtl.analysis.verdict.choice import Choice, choose_partition
from ensemble_mtl.analysis.verdict.comparison import Setting, compare, compare_task
from ensemble_mtl.analysis.verdict.mismatch import PairStudy, relation
from ensemble_mtl.analysis.verdict.phrases import change, listing, signed, size
from ensemble_mtl.analysis.verdict.result import Comparison
from ensemble_mtl.analysis.verdict.terms import Terms
from ensemble_mtl.analysis.verdict.wording import headline, new_data, remarks
from ensemble_mtl.analysis.verdict.wording_of_studies import (
    choice_sentence,
    partition_label,
    relation_sentence,
    versus_alone,
)

NINE = Terms(comparisons=9)
PATTERN = np.array([-1.0, 1.0] * 6)
TOGETHER = "96 % for all 9 comparisons together; family-wise 95 % over all looks"


def across(mean: float, sd: float, repeats: int = 12, setting: Setting | None = None, **terms: Any) -> Comparison:
    multi = {(r, r): math.exp(mean + sd * PATTERN[r]) for r in range(repeats)}
    return compare(multi, dict.fromkeys(multi, 1.0), NINE.model_copy(update=terms), setting)


def test_a_gain_names_its_splits_and_its_confidence() -> None:
    assert headline("H", "M", across(-0.094, 0.05)) == (
        f"H gains from M: error −9 % [−14, −4] on other random splits of these data (12 repeats; {TOGETHER})"
    )


def test_a_loss_on_one_split_says_what_would_void_it() -> None:
    comparison = compare(FEPT[("H", "C"), "C"], FEPT[("C",), "C"], NINE)
    assert headline("C", "H", comparison) == (
        f"C loses with H on this split: error +17 % [+11, +23] (12 seeds; {TOGETHER}). Not shown for other splits: "
        "void if splits change the difference by more than 4.2 % (sd). repeats: 12 at the same cost would tell"
    )


def test_fewer_seeds_than_advised_are_not_the_same_cost() -> None:
    comparison = compare(PLATEAU[TASKS, "C"], PLATEAU[("C",), "C"], Terms(comparisons=3))
    assert headline("C", "H + M", comparison).endswith("repeats: 12 with a split each would tell")
    (remark,) = remarks(comparison)
    assert remark.startswith("hangs on each of seed 1, seed 2")


def test_a_small_gain_says_that_it_is_small() -> None:
    assert headline("H", "M", across(-0.03, 0.01)).startswith(
        "H gains from M, by less than 10 %: error −3.0 % [−4.0, −1.9] on "
    )


def test_same_gives_the_one_sided_bound_where_the_interval_is_wider() -> None:
    tight, wide = across(0.01, 0.03), across(0.045, 0.05)
    assert headline("H", "M", tight) == (
        f"H with M: same within 10 %: +1 % [−2, +4] on other random splits of these data (12 repeats; {TOGETHER})"
    )
    assert (tight.verdict, wide.verdict) == ("same", "same")
    assert headline("H", "M", wide).endswith("), at most 9.7 % either way (one-sided)")


def test_undecided_says_what_these_repeats_find_and_how_many_it_takes() -> None:
    comparison = across(-0.03, 0.09)
    assert comparison.verdict == "undecided"
    text = headline("H", "C", comparison)
    assert text.startswith("H with C: undecided: −3 % [−12, +7] on other random splits of these data (12 repeats; ")
    assert text.endswith(f"; 12 repeats find a gain of 11 % or more; for 10 %: {comparison.repeats_needed} repeats")


def test_a_hopeless_spread_is_named() -> None:
    text = headline("H", "C", across(-0.03, 0.4))
    assert text.endswith("not by more repeats (over 500): the spread of 52 % between repeats is the problem")
    assert "more repeats" not in headline("H", "C", across(-0.03, 0.4, margin=0.0))


@pytest.mark.parametrize(
    ("comparison", "text"),
    [
        (across(-0.03, 0.02, repeats=3), "H with M: too few repeats (3; a verdict needs 5, this design 3)"),
        (across(0.0, 0.0), "H with M: too few repeats differ: all 12 differences are 0"),
        (across(-0.1, 0.0), "all differences are equal, so no test applies"),
        (
            across(-0.1, 0.02, 9, Setting(planned=tuple((r, r) for r in range(12)), complete=False)),
            "H with M: interim, 9 of 12: ",
        ),
        (across(-0.1, 0.03, setting=Setting(in_family=False)), "H with M: −10 % [−12, −7] on other random splits"),
        (compare({}, {}, NINE), "too few repeats (0; a verdict needs 5, this design 0)"),
        (
            compare(
                {(0, 0): 1.0, (0, 1): 1.2, (0, 2): 1.0, (0, 3): 1.1, (1, 0): 1.0},
                {(0, s): 1.0 for s in range(4)} | {(1, 0): 1.0},
                NINE,
            ),
            "a split with a single one, so no interval",
        ),
    ],
)
def test_what_allows_no_verdict_is_said(comparison: Comparison, text: str) -> None:
    assert text in headline("H", "M", comparison)


def test_one_initialisation_is_no_sample_of_seeds() -> None:
    multi = {(split, 0): math.exp(-0.2 + 0.03 * PATTERN[split]) for split in range(12)}
    text = headline("H", "M", compare(multi, dict.fromkeys(multi, 1.0), NINE))
    assert "on other random splits of these data, with this initialisation (12 splits; " in text


def test_later_looks_and_single_comparisons_change_the_confidence() -> None:
    assert "(12 repeats; 99.2 % for all 9 comparisons together; " in headline("H", "M", across(-0.2, 0.02, look=2))
    assert "(12 repeats; 96 %; family-wise 95 % over all looks)" in headline(
        "H", "M", across(-0.2, 0.02, comparisons=1)
    )


def test_new_data_has_its_own_interval() -> None:
    wide, narrow = (across(mean, 0.05, setting=Setting(overlap=0.214)) for mean in (-0.3, -0.06))
    assert new_data(wide) == "also expected of new data from the same source [−33, −18]"
    assert new_data(narrow) == "for new data from the same source not shown [−15, +4]"
    assert new_data(across(-0.3, 0.05)) is None


def test_remarks_tell_of_missing_pairs_and_of_the_interaction() -> None:
    multi = {(split, seed): math.exp(0.3 * PATTERN[seed] + 0.05 * split) for split in range(2) for seed in range(4)}
    gap, splits = remarks(compare(multi, dict.fromkeys([*multi, (2, 0)], 1.0), NINE))
    assert gap == "1 of 9 repeats without a pair"
    assert splits.startswith("splits change the difference by at most ")
    many = {(split, seed): math.exp(0.3 * PATTERN[seed] + split) for split in range(6) for seed in range(4)}
    assert re.match(
        r"splits change the difference by \d+ % \(sd\), by at most \d+ % ",
        remarks(compare(many, dict.fromkeys(many, 1.0), NINE))[-1],
    )


def test_a_remark_tells_that_arithmetic_means_differ_the_other_way() -> None:
    skewed = {(r, r): 3.0 if r == 0 else 0.9 for r in range(12)}
    (remark,) = remarks(compare(skewed, dict.fromkeys(skewed, 1.0), NINE))
    assert remark == "the arithmetic means differ the other way (+7 %), because large errors weigh more in them"


def test_a_remark_tells_of_borrowed_spread() -> None:
    random = np.random.default_rng(7)
    multi = [{(r, r): math.exp(0.1 * random.standard_normal()) for r in range(6)} for _ in range(3)]
    first, *_ = compare_task(multi, dict.fromkeys(multi[0], 1.0), NINE, borrow=True)
    assert remarks(first)[-1] == "spread shared with the task's other comparisons (4.0 degrees of freedom)"


def choice(margin: float, cells: Any = FEPT) -> Choice:
    subsets = sorted({subset for subset, _ in FEPT}, key=len)
    return choose_partition(cells, TASKS, subsets, Terms(comparisons=9, margin=margin))


def test_a_partition_is_recommended_with_its_bound() -> None:
    assert choice_sentence(choice(0.05)) == (
        "cheapest within 5 % of the best on this split: H|CM (at most +4.3 % worse than the best; 2 trunks)"
    )
    worst = choice(0.05).candidates[-1]
    assert partition_label(worst) == "HCM"
    assert versus_alone(worst) == "worse than all alone: error +8 % [+4, +12]"
    assert versus_alone(choice(0.05).candidates[1]) is None


def test_an_undecided_partition_says_how_many_may_be_best() -> None:
    assert choice_sentence(choice(0.05, PLATEAU)) == (
        "not decided on this split: 2 partitions may be best, none is shown to be within 5 % of it; "
        "cheapest of them: HCM (at most +42 % worse than the best; 1 trunk)"
    )
    assert choice_sentence(choice(0.05, {})).startswith("no partition is recommended: 0 repeats have all members")


def pair_study(values: list[float], tasks: int) -> PairStudy:
    tables = np.zeros((2, tasks, tasks))
    tables[0][np.triu_indices(tasks, 1)] = values
    tables[1][np.triu_indices(tasks, 1)] = range(len(values))
    tables += np.swapaxes(tables, 1, 2)
    return PairStudy("s", tuple("ABCDEFGH"[:tasks]), tables[0], {"trace ratio": tables[1]})


def test_three_tasks_are_told_what_would_do() -> None:
    assert relation_sentence(relation([pair_study([2.0, 3.0, 1.0], 3)])) == (
        "3 tasks give 3 pairs: no relation can be shown (smallest p 0.33). rho = −0.50 for trace ratio. "
        "Pool 27 such studies, or use a study of 8 tasks."
    )


def test_relations_are_sentences() -> None:
    up = list(map(float, range(10)))
    rising = relation_sentence(relation([pair_study(up, 5)]))
    assert rising.startswith(
        "the larger the mismatch, the larger the error of learning two tasks together (rho = +1.00"
    )
    assert "the smaller the error" in relation_sentence(relation([pair_study(up[::-1], 5)]))
    mixed = [3.0, 7.0, 1.0, 9.0, 0.0, 5.0, 8.0, 2.0, 6.0, 4.0]
    text = relation_sentence(relation([pair_study(mixed, 5)]))
    assert text.startswith("no relation of mismatch and gain is shown (rho = ")
    assert text.endswith("; a true correlation of .5 would be shown with 26 %")
    assert relation_sentence(relation([])).startswith("no study with three tasks")


@pytest.mark.parametrize(
    ("mean", "interval", "text"),
    [
        (math.log(0.91), (math.log(0.86), math.log(0.96)), "−9 % [−14, −4]"),
        (math.log(1.004), (math.log(0.999), math.log(1.009)), "+0.4 % [−0.1, +0.9]"),
        (math.log(0.9), (math.log(0.81), math.log(0.997)), "−10.0 % [−19.0, −0.3]"),
        (0.0, (math.log(0.95), math.log(1.05)), "0 % [−5, +5]"),
        (math.log(1.5), None, "+50 %"),
    ],
)
def test_decimals_show_the_width_and_the_side_of_zero(
    mean: float, interval: tuple[float, float] | None, text: str
) -> None:
    assert change(mean, interval) == text


def test_numbers_in_sentences() -> None:
    assert [size(math.log1p(value)) for value in (0.042, 0.23, 0.0082, 0.0)] == ["4.2", "23", "0.82", "0"]
    assert [signed(value, 1) for value in (-0.04, 0.06, -2.0)] == ["0.0", "+0.1", "−2.0"]
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(list("abcdefg")) == "a, b, c, d, e and 2 more"
