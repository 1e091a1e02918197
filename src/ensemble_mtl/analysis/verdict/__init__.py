"""Verdicts on learning tasks together, with bounded error rates.

:func:`compare` judges a task's errors in one multi-task ensemble, :mod:`looks` keeps what was decided when repeats are
added, :func:`choose_partition` recommends which tasks to learn together, and :func:`relation` tests whether mismatch
explains gains. Sentences come from :mod:`wording` and :mod:`wording_of_studies`. How often all of this errs stands in
``docs/benchmarks/verdicts.md``.
"""

from ensemble_mtl.analysis.verdict.choice import Candidate, Choice, choose_partition
from ensemble_mtl.analysis.verdict.comparison import Setting, compare, compare_task
from ensemble_mtl.analysis.verdict.looks import Family, Look, Record, conclude, current_look, declare, standing
from ensemble_mtl.analysis.verdict.mismatch import PairStudy, Relation, relation
from ensemble_mtl.analysis.verdict.pairs import Errors, Key, Name
from ensemble_mtl.analysis.verdict.result import Comparison, percent
from ensemble_mtl.analysis.verdict.terms import Terms, look_level
from ensemble_mtl.analysis.verdict.wording import headline, new_data, remarks
from ensemble_mtl.analysis.verdict.wording_of_studies import choice_sentence, relation_sentence

__all__ = [
    "Candidate",
    "Choice",
    "Comparison",
    "Errors",
    "Family",
    "Key",
    "Look",
    "Name",
    "PairStudy",
    "Record",
    "Relation",
    "Setting",
    "Terms",
    "choice_sentence",
    "choose_partition",
    "compare",
    "compare_task",
    "conclude",
    "current_look",
    "declare",
    "headline",
    "look_level",
    "new_data",
    "percent",
    "relation",
    "relation_sentence",
    "remarks",
    "standing",
]
