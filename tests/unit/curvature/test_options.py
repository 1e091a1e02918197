"""Estimators are chosen by name in the configuration."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from ensemble_mtl.config.sections import ProbeConfig


def test_the_paper_s_estimators_are_the_default():
    config = ProbeConfig(trace_samples=7, lanczos_steps=8, lanczos_starts=9)
    assert (config.trace.name, config.density.name) == ("hutchinson", "quadrature")
    assert config.model_dump()["trace"] == {"name": "hutchinson"}


def test_options_stand_beside_the_name():
    config = ProbeConfig.model_validate(
        {"trace": {"name": "deflated", "relative_error": 0.1}, "density": {"name": "deflated", "steps": 5}}
    )
    assert (config.trace.relative_error, config.trace.pilot, config.density.steps) == (0.1, 20, 5)
    assert ProbeConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"trace": "deflate"}, "did you mean 'deflated'"),
        ({"density": "lanczos"}, "expected one of deflated, quadrature"),
        ({"trace": {"name": "deflated", "pilot": 1}}, "greater than or equal to 2"),
        ({"trace": {"name": "deflated", "relative_error": -1}}, "greater than or equal to 0"),
        ({"density": {"name": "deflated", "steps": 1}}, "greater than or equal to 2"),
        ({"leading": 0}, "greater than 0"),
        ({"lanczos_steps": 1}, "greater than or equal to 2"),
        ({"reduction": "max"}, "'mean' or 'sum'"),
    ],
)
def test_mistakes_are_refused(section, message):
    with pytest.raises(ValidationError, match=message):
        ProbeConfig.model_validate(section)


def test_choosing_an_estimator_does_not_load_torch():
    code = (
        "import sys; from ensemble_mtl.config.sections import ProbeConfig;"
        "ProbeConfig(trace='deflated', density='deflated'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
