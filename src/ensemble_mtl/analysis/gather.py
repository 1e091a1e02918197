"""From the members' results to one summary of the study, in which gaps are listed with their reasons.

Only results that verify, and that were trained on the study's own data, enter a mean;
all others are listed with the reason. The summary is made of the study's files, of which members are
running, and of this package's version. So gathering twice with one version gives the same bytes once
no member is running.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ensemble_mtl.analysis.against_alone import comparison_rows
from ensemble_mtl.analysis.cells import error_cells
from ensemble_mtl.analysis.convergence import convergence_signs
from ensemble_mtl.analysis.correlations import correlations
from ensemble_mtl.analysis.cost import cost_rows, wall_clock_rows
from ensemble_mtl.analysis.curvature import curvature_rows
from ensemble_mtl.analysis.curvature_pairs import pair_rows
from ensemble_mtl.analysis.groups import Groups, Pair, grouped
from ensemble_mtl.analysis.mismatch import mismatch_rows
from ensemble_mtl.analysis.reading import (
    failed_member,
    load_split,
    load_store,
    planned_member,
    split_sizes,
    usable_results,
)
from ensemble_mtl.analysis.statistics import CONFIDENCE, MIN_UNITS, STD_DDOF
from ensemble_mtl.analysis.summary import (
    VERSION,
    Conventions,
    Convergence,
    Counts,
    DamagedMember,
    Data,
    Parts,
    Provenance,
    Scaling,
    Summary,
    Task,
)
from ensemble_mtl.analysis.weighting_effects import effect_rows
from ensemble_mtl.core.errors import DataError, IncompleteStudyError
from ensemble_mtl.core.version import __version__
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.prepare import part_targets
from ensemble_mtl.study.directory import State, Study, counts
from ensemble_mtl.study.plan import Member, Subset, is_main, subsets
from ensemble_mtl.study.results import MemberResult
from ensemble_mtl.train.schedule import base as schedules

SKIPPED_SHOWN = 20


def gather(study: Study) -> Summary:
    """The summary of all results that ``study`` holds.

    Raises:
        IncompleteStudyError: there is no graph store to check results against, or the directory holds only results of
            another configuration.
        StoreError: the graph store is damaged.
        DataError: a target of the configuration is not in the store.
    """
    contents, config = _contents(study), study.config
    store, groups, overlap, ends = contents.store, contents.groups, contents.overlap, contents.ends
    tasks, weightings = _tasks(study, store), tuple(config.weighting_options)
    comparisons, curvature_pairs = comparison_rows(groups, overlap), pair_rows(groups, ends=ends)
    return Summary(
        version=VERSION,
        study=config.name,
        description=config.description,
        synthetic=bool(store.provenance.get("synthetic", False)),
        notes=tuple(map(str, store.provenance.get("notes", []))),
        complete=all(state == "done" for state in contents.states.values()),
        counts=Counts(**counts(contents.states)),
        tasks=tasks,
        subsets=tuple(subsets(config)),
        fractions=config.fractions,
        splits=config.split_seeds,
        weightings=weightings,
        conventions=Conventions(confidence=CONFIDENCE, std_ddof=STD_DDOF, min_units=MIN_UNITS),
        data=_data(study, store, contents.parts),
        cells=error_cells(groups, contents.planned, {name: task.unit for name, task in tasks.items()}),
        wall_clock=wall_clock_rows(groups),
        cost=cost_rows(groups),
        comparisons=comparisons,
        convergence=_convergence(study, store, groups),
        curvature=curvature_rows(groups, ends=ends),
        curvature_pairs=curvature_pairs,
        mismatch=mismatch_rows(comparisons, curvature_pairs, max(config.fractions)),
        weighting_effects=effect_rows(contents.plan, contents.pairs, weightings, overlap),
        correlations=correlations(store, {name: task.target for name, task in tasks.items()}),
        missing=tuple(planned_member(member) for member in contents.in_state("missing")),
        failed=tuple(failed_member(study, member) for member in contents.in_state("failed")),
        damaged=tuple(contents.damaged),
        provenance=_provenance([result for _, result in contents.pairs], store),
    )


@dataclass(frozen=True)
class _Contents:
    """The usable content of the study's files.

    Attributes:
        store: the graph store.
        plan: every member of the study.
        states: the state of each member by its id; a member with a damaged result is missing.
        pairs: the members with a usable result, each with its result.
        damaged: the members whose result cannot be used.
        groups: the results of the main weighting by subset and fraction.
        planned: the number of planned members of the main weighting by subset and fraction.
        parts: the numbers of graphs in the parts of the first split; None if it cannot be read.
        ends: whether each member was probed at its own last epoch.
    """

    store: GraphStore
    plan: list[Member]
    states: dict[str, State]
    pairs: list[Pair]
    damaged: list[DamagedMember]
    groups: Groups
    planned: Mapping[tuple[Subset, float], int]
    parts: Parts | None
    ends: bool

    @property
    def overlap(self) -> float:
        """The number of test graphs over that of training graphs; 0 if the split cannot be read."""
        return self.parts.test / self.parts.train if self.parts and self.parts.train else 0.0

    def in_state(self, state: State) -> list[Member]:
        """The members that are in ``state``, in the order of the plan."""
        return [member for member in self.plan if self.states[member.id] == state]


def _contents(study: Study) -> _Contents:
    """Read the study's files; errors are those of :func:`gather`."""
    store, config = load_store(study), study.config
    _check_targets(study, store)
    pairs, damaged = usable_results(study, store.sha256)
    if not pairs and not damaged:
        _refuse_orphans(study)
    plan = study.plan()
    main = [member for member in plan if is_main(config, member)]
    return _Contents(
        store=store,
        plan=plan,
        # a result that cannot be used is work to be done again
        states=study.states() | {member.id: "missing" for member in damaged},
        pairs=pairs,
        damaged=damaged,
        groups=grouped(main, [pair for pair in pairs if is_main(config, pair[0])]),
        planned=Counter((member.subset, member.fraction) for member in main),
        parts=split_sizes(study, store.sha256),
        ends=config.probes_last_epoch,
    )


def _check_targets(study: Study, store: GraphStore) -> None:
    """Raise DataError if the target of a task is not in the store."""
    for name, task in study.config.tasks.items():
        if task.target not in store.targets:
            targets = ", ".join(store.targets)
            raise DataError(f"{study.data}: task {name}: no target {task.target!r}, expected one of {targets}")


def _refuse_orphans(study: Study) -> None:
    """Raise IncompleteStudyError if the directory holds results; it is called where none of them is of this study."""
    if orphans := study.orphans():
        raise IncompleteStudyError(
            f"{study.root}: its {len(orphans)} result(s) belong to another configuration, and none to this one; "
            "give the configuration (and --set) that they were made with, or run this one"
        )


def _tasks(study: Study, store: GraphStore) -> dict[str, Task]:
    """A task's name to what it predicts, in the order of the configuration."""
    tasks = {}
    for name, task in study.config.tasks.items():
        info = store.target_info(task.target)
        shown = task.label or task.target.replace("_", " ")
        tasks[name] = Task(target=task.target, label=shown, unit=info.unit, level=info.level)
    return tasks


def _data(study: Study, store: GraphStore, parts: Parts | None) -> Data:
    """The summary's account of the data; only the first :data:`SKIPPED_SHOWN` of the skipped records are listed."""
    skipped, scale = tuple(map(str, store.provenance.get("skipped", []))), study.config.normalize
    return Data(
        graphs=len(store),
        skipped_count=len(skipped),
        skipped=skipped[:SKIPPED_SHOWN],
        sha256=store.sha256,
        parts=parts,
        normalize=Scaling(method=scale.method, fit_on=scale.fit_on),
        split=study.config.split.name,
    )


def _convergence(study: Study, store: GraphStore, groups: Groups) -> Convergence:
    """Signs that the training was not over, among the members at the largest fraction."""
    config = study.config
    annealed = schedules.FAMILY.of(config.train.schedule).ANNEALS
    return convergence_signs(groups, _test_spreads(study, store), max(config.fractions), annealed=annealed)


def _test_spreads(study: Study, store: GraphStore) -> dict[tuple[str, int], float]:
    """(task, split) to the standard deviation of the test targets, in its unit; unreadable splits are left out."""
    splits = {seed: load_split(study, seed, store.sha256) for seed in study.config.split_seeds}
    return {
        (name, seed): float(np.nanstd(part_targets(store, task.target, split.test)))
        for name, task in study.config.tasks.items()
        for seed, split in splits.items()
        if split is not None
    }


def _provenance(results: Sequence[MemberResult], store: GraphStore) -> Provenance:
    """The versions, devices and precisions that the ``results`` were made with, each once."""
    names = sorted({name for result in results for name in result.versions})
    return Provenance(
        ensemble_mtl=__version__,
        versions={
            name: tuple(sorted({result.versions[name] for result in results if name in result.versions}))
            for name in names
        },
        devices=tuple(sorted({result.device for result in results})),
        dtypes=tuple(sorted({result.dtype for result in results})),
        data_sha256=store.sha256,
    )
