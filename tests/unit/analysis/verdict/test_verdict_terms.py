from __future__ import annotations

import pytest
from pydantic import ValidationError

from ensemble_mtl.analysis.verdict.terms import Terms, look_level


def test_looks_spend_four_fifths_of_what_is_left() -> None:
    assert [look_level(look) for look in (1, 2, 3)] == pytest.approx([0.04, 0.008, 0.0016])
    left = 0.05
    for look in range(1, 6):
        assert look_level(look) == pytest.approx(0.8 * left)
        left -= look_level(look)
    assert left > 0


def test_terms_know_their_level_and_the_next() -> None:
    terms = Terms(comparisons=9, alpha=0.10, look=2)
    assert (terms.level, terms.next_level) == pytest.approx((0.016, 0.0032))


@pytest.mark.parametrize("wrong", [{"comparisons": 0}, {"alpha": 0.0}, {"margin": -0.1}, {"look": 0}, {"margins": 0.1}])
def test_terms_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Terms.model_validate({"comparisons": 9, **wrong})
