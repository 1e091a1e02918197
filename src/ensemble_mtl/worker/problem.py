"""The model and the data of a shard, put together on a device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import ConfigError
from ensemble_mtl.core.storage import bp_manifest
from ensemble_mtl.curvature.running import curvature
from ensemble_mtl.data import degrees, prepare
from ensemble_mtl.data.prepare import Prepared
from ensemble_mtl.data.table import GraphTable, inputs
from ensemble_mtl.models.layout import Layout
from ensemble_mtl.models.model import Model
from ensemble_mtl.models.spec import of_subset as spec_of_subset
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import FIXED, Subset, train_config
from ensemble_mtl.train.step import Problem

_prepared_cache: dict[tuple[object, ...], Prepared] = {}
"""The data of the last split that this process loaded: at most one entry, by study, split and state of the files."""


def prepared_split(study: Study, split: int) -> Prepared:
    """Return the data of one split; they are read only once while the same split is asked for and files do not change.

    Args:
        study: the study.
        split: seed of the split.

    Raises:
        DataError: the data are missing or damaged.
    """
    files = [study.data / bp_manifest.NAME, study.split(split)]
    try:
        stamps = tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in (path.stat() for path in files))
    except OSError:
        return prepare.load(study, split)  # its error says what is missing
    key = (study.root, split, stamps)
    if key not in _prepared_cache:
        _prepared_cache.clear()
        _prepared_cache[key] = prepare.load(study, split)
    return _prepared_cache[key]


def choose_device(config: StudyConfig) -> torch.device:
    """Return the configured device; ``auto`` is a GPU if there is one, else the CPU.

    Raises:
        ConfigError: the configuration asks for CUDA, and torch has no GPU here.
    """
    available = torch.cuda.is_available()
    if config.train.device == "cuda" and not available:
        raise ConfigError(
            "train.device: got cuda, but torch sees no GPU here; use auto or cpu, or install a CUDA build of torch"
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
    """Put model and data together on ``device``.

    Args:
        config: the study's configuration.
        prepared: the data of the split.
        subset: the tasks that the model has heads for.
        split: seed of the split.
        fraction: share of the training part that is used, above 0 and at most 1.
        device: where everything lies.
        weighting: name of the weighting of the tasks' losses.
    """
    graphs = prepared.store
    graph_inputs = inputs(graphs, config.graph, prepared.input_normalizer, config.model.edge_basis)
    table = GraphTable(
        graphs,
        graph_inputs,
        {task: (config.tasks[task].target, prepared.normalizers[task]) for task in subset},
        getattr(torch, config.train.dtype),
        device,
    )
    train = prepare.training_part(prepared.split, fraction)
    spec = spec_of_subset(config, subset, graph_inputs.widths)
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
