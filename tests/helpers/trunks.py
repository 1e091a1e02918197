"""The problems of :mod:`helpers.problems` with any trunk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ensemble_mtl.config.sections import ModelConfig
from ensemble_mtl.models.layout import Layout
from ensemble_mtl.models.spec import ModelSpec
from ensemble_mtl.train.step import Problem


def with_trunk(problem: Problem, name: str, **options: Any) -> Problem:
    """Return ``problem`` with another trunk under its heads; ``options`` are those of the trunk."""
    former = problem.model.spec
    config = ModelConfig(trunk={"name": name, **options}, heads=former.config.heads)
    spec = ModelSpec(config, former.tasks, former.in_features, former.edge_features)
    layout, buffers = Layout(spec.parameters()), Layout(spec.buffers())
    return replace(problem, model=replace(problem.model, spec=spec), layout=layout, buffers=buffers)
