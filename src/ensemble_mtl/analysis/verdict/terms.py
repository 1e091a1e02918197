"""What a family of verdicts was declared with: how many comparisons, what margin, what error rate, which look."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

FIRST_SHARE = 0.8
"""Share of the error rate that each look may spend of what earlier looks have left."""


def look_level(look: int, alpha: float = 0.05) -> float:
    """Error rate that a look may spend: ``0.8 α 0.2^(look − 1)``, so .04, .008, .0016 … at α = .05.

    The sum over any number of looks stays below α, so adding repeats to a study and looking again keeps the
    family-wise error rate (alpha spending: Lan & DeMets 1983, doi:10.1093/biomet/70.3.659, here by Bonferroni's
    inequality, which needs no assumption on how the looks depend on each other).

    Args:
        look: number of the look, from 1.
        alpha: family-wise error rate over all looks.
    """
    return FIRST_SHARE * alpha * (1 - FIRST_SHARE) ** (look - 1)


class Terms(BaseModel):
    """Terms that all comparisons of a family share; they are fixed before training.

    Attributes:
        comparisons: number K of (multi-task subset, task) pairs of the plan, whether or not their members came.
        margin: errors count as the same if they differ by less than this share (0.10: ten per cent); 0: never.
        alpha: family-wise error rate, over all comparisons and all looks.
        look: how often verdicts on this family are given with this one, from 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    comparisons: int = Field(ge=1)
    margin: float = Field(default=0.10, ge=0)
    alpha: float = Field(default=0.05, gt=0, lt=1)
    look: int = Field(default=1, ge=1)

    @property
    def level(self) -> float:
        """Error rate a of this look over all K comparisons (see :func:`look_level`)."""
        return look_level(self.look, self.alpha)

    @property
    def next_level(self) -> float:
        """Error rate of the look after this one."""
        return look_level(self.look + 1, self.alpha)
