"""Ensembles of single-task and multi-task graph networks: plan, train, probe, compare.

The names in ``__all__`` are the Python interface, which ``docs/python-api.md`` describes. Each is imported when it is
first used, so that ``import ensemble_mtl`` alone loads neither torch nor numpy.
"""

from typing import TYPE_CHECKING

from ensemble_mtl.core.version import __version__

if TYPE_CHECKING:
    from ensemble_mtl.analysis.gather import gather
    from ensemble_mtl.analysis.summary import Summary
    from ensemble_mtl.analysis.summary_file import write_summary
    from ensemble_mtl.core.errors import (
        ConfigError,
        DataError,
        EnsembleMTLError,
        IncompleteStudyError,
        PluginError,
        StoreError,
        StudyError,
        TrainingError,
    )
    from ensemble_mtl.data.predictions import Predictions, predictions
    from ensemble_mtl.launch.run import RunOutcome, run
    from ensemble_mtl.report.write import write_report
    from ensemble_mtl.study.directory import Study
    from ensemble_mtl.study.histories import TrainingHistory, history
    from ensemble_mtl.study.load import load_study
    from ensemble_mtl.study.member_results import load_result, probes
    from ensemble_mtl.study.plan import Member
    from ensemble_mtl.study.results import MemberResult, ProbeResult
    from ensemble_mtl.worker.reprobe import MeasuredCurvature, measure_curvature
else:
    _MODULES = {
        "ConfigError": "core.errors",
        "DataError": "core.errors",
        "EnsembleMTLError": "core.errors",
        "IncompleteStudyError": "core.errors",
        "Member": "study.plan",
        "MemberResult": "study.results",
        "PluginError": "core.errors",
        "Predictions": "data.predictions",
        "ProbeResult": "study.results",
        "MeasuredCurvature": "worker.reprobe",
        "RunOutcome": "launch.run",
        "StoreError": "core.errors",
        "Study": "study.directory",
        "StudyError": "core.errors",
        "Summary": "analysis.summary",
        "TrainingError": "core.errors",
        "TrainingHistory": "study.histories",
        "gather": "analysis.gather",
        "history": "study.histories",
        "load_result": "study.member_results",
        "load_study": "study.load",
        "measure_curvature": "worker.reprobe",
        "predictions": "data.predictions",
        "probes": "study.member_results",
        "run": "launch.run",
        "write_report": "report.write",
        "write_summary": "analysis.summary_file",
    }

    def __getattr__(name):
        """Import a name of the Python interface at its first use."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    "ConfigError",
    "DataError",
    "EnsembleMTLError",
    "IncompleteStudyError",
    "MeasuredCurvature",
    "Member",
    "MemberResult",
    "PluginError",
    "Predictions",
    "ProbeResult",
    "RunOutcome",
    "StoreError",
    "Study",
    "StudyError",
    "Summary",
    "TrainingError",
    "TrainingHistory",
    "__version__",
    "gather",
    "history",
    "load_result",
    "load_study",
    "measure_curvature",
    "predictions",
    "probes",
    "run",
    "write_report",
    "write_summary",
]
