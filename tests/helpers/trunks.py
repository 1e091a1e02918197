"""The problems of :mod:`helpers.problems` with any model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ensemble_mtl.config.sections import ModelConfig
from ensemble_mtl.models.layout import Layout
from ensemble_mtl.models.spec import ModelSpec
from ensemble_mtl.train.step import Problem


def with_model(problem: Problem, **options: Any) -> Problem:
    """``problem`` whose model section has these options; heads stay what they are unless given."""
    old = problem.model.spec
    config = ModelConfig(**{"heads": old.config.heads, **options})
    spec = ModelSpec(config, old.tasks, old.in_features, old.edge_features)
    layout, buffers = Layout(spec.parameters()), Layout(spec.buffers())
    return replace(problem, model=replace(problem.model, spec=spec), layout=layout, buffers=buffers)
