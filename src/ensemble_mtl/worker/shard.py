"""One shard: members of one weighting, split and fraction, trained from where they stand.

The only place that composes data, model, training, probes and results.
"""

from __future__ import annotations

import gc
import math
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import ConfigError, EnsembleMTLError, StoreError, TrainingError
from ensemble_mtl.core.runtime.memory import is_shortage, keep_freed
from ensemble_mtl.core.storage import bp_manifest
from ensemble_mtl.curvature.running import curvature
from ensemble_mtl.data import degrees, prepare
from ensemble_mtl.data.prepare import Prepared
from ensemble_mtl.data.table import GraphTable, inputs
from ensemble_mtl.models.layout import Layout
from ensemble_mtl.models.model import Model
from ensemble_mtl.models.spec import of_subset as spec_of_subset
from ensemble_mtl.study.claims import Claim, Keeper, claim
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.member_files import about_to_try, log, record_failure, size_of_broken_stack
from ensemble_mtl.study.plan import FIXED, Member, Subset, train_config
from ensemble_mtl.train import checkpoint
from ensemble_mtl.train.mixed import widened
from ensemble_mtl.train.state import StackState, initial, joined
from ensemble_mtl.train.step import Problem
from ensemble_mtl.worker.grouping import quickest
from ensemble_mtl.worker.stack import Control, InterruptedTrainingError, MemberRun, Stack

_KEPT: dict[tuple[object, ...], Prepared] = {}
"""At most one."""


def attempt(study: Study, planned: Mapping[str, Member], ids: Iterable[str], control: Control) -> None:
    """Train the members as far as they go; a fault of this shard is theirs, and other shards go on.

    Args:
        study: the study.
        planned: its members by id.
        ids: the members of one shard; finished ones are left alone.
        control: is told what happens, and asked whether to go on.

    Raises:
        InterruptedTrainingError: it was asked to stop, and everything is checkpointed.
        OSError: not even the failure could be written.
    """
    left = [planned[key] for key in ids if not study.result(planned[key]).exists()]
    if not left:
        return
    try:
        run(study, left, control)
    except InterruptedTrainingError:
        raise
    except Exception as error:
        known = isinstance(error, EnsembleMTLError | OSError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        for member in study.free(left):
            _fail(study, member, control, text, "" if known else traceback.format_exc())


def _fail(study: Study, member: Member, control: Control, text: str, trace: str = "") -> None:
    log(study, member, f"failed: {text}")
    record_failure(study, member, text, trace)
    control.tell({"event": "failed", "member": member.id, "error": text})


def run(study: Study, members: Sequence[Member], control: Control) -> None:
    """Train ``members`` to their results.

    Args:
        study: the study; :func:`ensemble_mtl.data.prepare.prepare` has run.
        members: of one weighting, split and fraction. Those that are finished, and those that another living
            process holds, are left alone.
        control: is told what happens, and asked whether to go on.

    Raises:
        InterruptedTrainingError: it was asked to stop, and everything is checkpointed.
    """
    with Keeper(_claims(study, members)) as keeper:
        mine = [member for member in members if keeper.held(study.claim(member))]
        if others := [member.id for member in members if member not in mine]:
            control.tell({"event": "held", "members": others})
        if left := [member for member in mine if not study.result(member).exists()]:
            _train(study, left, control, keeper)


def _claims(study: Study, members: Sequence[Member]) -> list[Claim]:
    """Claims on the members that no other process holds."""
    made: list[Claim] = []
    try:
        for member in members:
            if own := claim(study.claim(member)):
                made.append(own)  # noqa: PERF401 - those made before a fault must be released
    except BaseException:
        for own in made:
            own.release()
        raise
    return made


def _train(study: Study, members: Sequence[Member], control: Control, keeper: Keeper) -> None:
    first = members[0]
    prepared = _prepared(study, first.split)
    device = choose_device(study.config)
    tasks = tuple(task for task in study.config.tasks if any(task in member.subset for member in members))
    problem = make_problem(
        study.config, prepared, tasks, first.split, first.fraction, device, weighting=first.weighting
    )
    _Trainer(study, problem, prepared, control, keeper).train(members)


@dataclass(frozen=True)
class _Trainer:
    """Trains members in stacks that are quick and fit into memory."""

    study: Study
    problem: Problem
    prepared: Prepared
    control: Control
    keeper: Keeper

    def train(self, members: Sequence[Member]) -> None:
        """Train the members to their ends."""
        waiting = self._stacks(members)
        while waiting:
            stack = waiting.pop(0)
            try:
                fits = self._fits(stack)
            except TrainingError as error:
                self._fail(stack, error)
                continue
            if not fits:
                own = [member for member in stack if self.keeper.held(self.study.claim(member))]
                left = [member for member in own if not self.study.result(member).exists()]
                half = math.ceil(len(stack) / 2)
                text = f"{len(stack)} members need more memory than there is; on with {half}"
                for member in left:
                    log(self.study, member, text)
                self.control.tell({"event": "shortage", "error": text})
                _give_back(self.problem.train.device)
                waiting = self._stacks(left, half) + waiting

    def _fail(self, members: Sequence[Member], error: TrainingError) -> None:
        """What is wrong with some says nothing of the others, which go on."""
        for member in members:
            _fail(self.study, member, self.control, str(error))
            self.keeper.release(self.study.claim(member))

    def _stacks(self, members: Sequence[Member], most: int | None = None) -> list[list[Member]]:
        """Members that stand at the same epoch, at most so many of them, or else as many as are quickest together."""
        by_epoch: dict[int, list[Member]] = {}
        for member in members:
            epoch = self._start(member)[1].epoch if self.study.checkpoint(member).exists() else 0
            by_epoch.setdefault(epoch, []).append(member)
        found = []
        for epoch, group in sorted(by_epoch.items()):
            size = most or self._quickest(group[: self._after_a_sudden_end(group, epoch)], epoch)
            found += [group[at : at + size] for at in range(0, len(group), size)]
        return found

    def _after_a_sudden_end(self, members: Sequence[Member], epoch: int) -> int:
        """Half of the stack in which one of them began at this epoch and left no trace; else all.

        So ends a process that the system kills since the machine is short of memory.
        """
        former = {size_of_broken_stack(self.study, member, epoch) for member in members} - {0}
        return math.ceil(min(former) / 2) if former else len(members)

    def _quickest(self, members: Sequence[Member], epoch: int) -> int:
        for member in members:
            about_to_try(self.study, member, epoch, len(members))
        try:
            found = quickest(self.problem, joined([self._start(member)[1] for member in members]))
        except (RuntimeError, MemoryError) as error:
            if not is_shortage(error):
                raise
            found = math.ceil(len(members) / 2)  # not even their weights fit
        for member in members:
            log(self.study, member, f"to be trained in stacks of {found}")
        return found

    def _fits(self, members: Sequence[Member]) -> bool:
        """Train them together to their ends; false if memory did not suffice for so many."""
        try:
            runs, states = zip(*map(self._start, members), strict=True)
            state = joined(states)
            del states
            Stack(self.study, self.problem, self.prepared, list(runs), state, self.control, self.keeper).train()
        except (RuntimeError, MemoryError) as error:
            if not is_shortage(error):
                raise
            if len(members) == 1:
                raise TrainingError(
                    f"a single member needs more memory than there is ({str(error).strip().splitlines()[0]}); try a "
                    "smaller train.batch_size, model.width, probes.graphs or probes.lanczos_steps, fewer workers, or "
                    "a machine with more"
                ) from error
            return False
        return True

    def _start(self, member: Member) -> tuple[MemberRun, StackState]:
        """The member at its checkpoint, or untrained if it has none that is whole."""
        path, problem = self.study.checkpoint(member), self.problem
        untrained = initial(problem.layout, problem.buffers, [member.seed], problem.config, problem.train.device)
        if path.exists():
            try:
                state, extra = checkpoint.load(path, member.id, problem.train.device)
                return MemberRun(member, extra["probes"]), widened(problem, member.subset, state, untrained)
            except StoreError as error:
                aside = path.with_suffix(".damaged")
                path.replace(aside)
                log(self.study, member, f"checkpoint set aside as {aside.name}, training anew: {error}")
        return MemberRun(member), untrained


def _give_back(device: torch.device) -> None:
    """Let go of what an attempt has left: tracebacks and tapes refer to each other, and torch keeps what it freed."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _prepared(study: Study, split: int) -> Prepared:
    """The data of one split, kept for the worker's next shard while their files are the same."""
    files = [study.data / bp_manifest.NAME, study.split(split)]
    try:
        stamps = tuple((found.st_ino, found.st_mtime_ns, found.st_size) for found in (path.stat() for path in files))
    except OSError:
        return prepare.load(study, split)  # says what is missing
    key = (study.root, split, stamps)
    if key not in _KEPT:
        _KEPT.clear()
        _KEPT[key] = prepare.load(study, split)
    return _KEPT[key]


def choose_device(config: StudyConfig) -> torch.device:
    """The configured device; ``auto`` takes a GPU if there is one.

    Raises:
        ConfigError: CUDA is asked for and not there.
    """
    available = torch.cuda.is_available()
    if config.train.device == "cuda" and not available:
        raise ConfigError(
            "train.device: got cuda, but torch sees no GPU here; use auto or cpu, or a CUDA build of torch"
        )
    return torch.device("cuda" if available and config.train.device != "cpu" else "cpu")


def make_problem(
    config: StudyConfig,
    prepared: Prepared,
    subset: Subset,
    split: int,
    fraction: float,
    device: torch.device,
    *,
    weighting: str = FIXED,
) -> Problem:
    """Model and data of one shard, on ``device``."""
    keep_freed()  # whoever trains or probes comes by here
    graphs = prepared.store
    seen = inputs(graphs, config.graph, prepared.input_normalizer, config.model.edge_basis)
    table = GraphTable(
        graphs,
        seen,
        {task: (config.tasks[task].target, prepared.normalizers[task]) for task in subset},
        getattr(torch, config.train.dtype),
        device,
    )
    train = prepare.training_part(prepared.split, fraction)
    spec = spec_of_subset(config, subset, seen.widths)
    model = Model(spec, degrees.of(graphs, train), table.node_tasks)

    def indices(part: np.ndarray) -> Tensor:
        return torch.as_tensor(part, dtype=torch.int64, device=device)

    return Problem(
        model=model,
        layout=Layout(spec.parameters()),
        buffers=Layout(spec.buffers()),
        table=table,
        train=indices(train),
        val=indices(prepared.split.val),
        test=indices(prepared.split.test),
        stream=f"{split}/{fraction}",
        config=train_config(config, weighting),
        curvature=curvature,
    )
