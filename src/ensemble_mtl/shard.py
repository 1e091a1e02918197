"""One shard: members of one subset, split and fraction, trained from where they stand.

The only place that composes data, model, training, probes and results.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ensemble_mtl import prepare
from ensemble_mtl.config import StudyConfig
from ensemble_mtl.data import degrees
from ensemble_mtl.data.table import GraphTable, Inputs, edge_inputs, node_inputs
from ensemble_mtl.errors import ConfigError, StoreError
from ensemble_mtl.member_files import log
from ensemble_mtl.models.layout import Layout
from ensemble_mtl.models.model import Model
from ensemble_mtl.models.spec import of_subset as spec_of_subset
from ensemble_mtl.plan import Member, Subset
from ensemble_mtl.prepare import Prepared
from ensemble_mtl.stack import Control, MemberRun, Stack
from ensemble_mtl.study import Study
from ensemble_mtl.train import checkpoint
from ensemble_mtl.train.state import StackState, initial, joined
from ensemble_mtl.train.step import Problem


def run(study: Study, members: Sequence[Member], control: Control) -> None:
    """Train ``members`` to their results.

    Args:
        study: the study; :func:`ensemble_mtl.prepare.prepare` has run.
        members: of one subset, split and fraction; finished ones must not be among them.
        control: is told what happens, and asked whether to go on.

    Raises:
        InterruptedTrainingError: it was asked to stop, and everything is checkpointed.
    """
    first = members[0]
    prepared = prepare.load(study, first.split)
    device = choose_device(study.config)
    problem = make_problem(study.config, prepared, first.subset, first.split, first.fraction, device)
    started = [_start(study, problem, member, device) for member in members]
    by_epoch = itertools.groupby(sorted(started, key=lambda item: item[1].epoch), key=lambda item: item[1].epoch)
    for _, group in by_epoch:
        runs, states = zip(*group, strict=True)
        Stack(study, problem, prepared, list(runs), joined(states), control).train()


def _start(study: Study, problem: Problem, member: Member, device: torch.device) -> tuple[MemberRun, StackState]:
    """The member at its checkpoint, or untrained if it has none that is whole."""
    path = study.checkpoint(member)
    if path.exists():
        try:
            state, extra = checkpoint.load(path, member.id, device)
            return MemberRun(member, extra["probes"]), state
        except StoreError as error:
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            log(study, member, f"checkpoint set aside as {aside.name}, training anew: {error}")
    state = initial(problem.layout, problem.buffers, [member.seed], study.config.train, device)
    return MemberRun(member), state


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
    config: StudyConfig, prepared: Prepared, subset: Subset, split: int, fraction: float, device: torch.device
) -> Problem:
    """Model and data of one shard, on ``device``."""
    graphs = prepared.store
    basis = edge_inputs(graphs, config.graph.radius_angstrom, config.model.edge_basis)
    table = GraphTable(
        graphs,
        Inputs(node_inputs(graphs, config.graph, prepared.input_normalizer), basis),
        {task: (config.tasks[task].target, prepared.normalizers[task]) for task in subset},
        getattr(torch, config.train.dtype),
        device,
    )
    train = prepare.training_part(prepared.split, fraction)
    spec = spec_of_subset(config, subset)
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
        stream=f"{split}/{fraction}",
        config=config.train,
    )
