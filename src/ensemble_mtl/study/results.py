"""A member's result on disk: numbers in ``result.json``, arrays in ``result.bp``.

The arrays are written first and ``result.json`` last, so that its existence means that the member is done. It holds
the digest of the arrays, which is verified when the result is read.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.core.errors import StoreError
from ensemble_mtl.core.finite import finite_or_none
from ensemble_mtl.core.storage import atomic, bp

FORMAT = 1
"""Number of the files' format; whoever changes what a result holds raises it."""
PREDICTION = "prediction/"
"""In ``result.bp``, what the names of the arrays of test predictions begin with; the task follows."""
PROBE_ARRAYS = ("nodes", "weights")
"""Fields of a :class:`ProbeResult` that are arrays."""


@dataclass(frozen=True)
class ProbeResult:
    """The curvature of one task's loss at one epoch of one member.

    H is the P × P Hessian of the loss on the probe set with respect to the shared parameters.

    Attributes:
        task: name of the task.
        epoch: number of epochs trained; 0 is before training.
        num_parameters: number P of shared parameters.
        num_graphs: number of graphs in the probe set.
        loss: the task's loss on the probe set.
        trace: estimate of tr H.
        trace_sem: standard error of ``trace``.
        trace_samples: number of samples behind ``trace``.
        eig_min: smallest Ritz value.
        eig_max: largest Ritz value.
        orthogonality: max |QᵀQ − I| of the Lanczos basis Q.
        num_matvecs: number of Hessian-vector products, of the density and of the quadratic forms of the trace.
        seconds: wall-clock spent on this task, divided by the number of members in the stack.
        nodes: ``[starts, steps]`` Ritz values, which are the quadrature nodes; NaN pads a run that ended early.
        weights: ``[starts, steps]`` quadrature weights, of which each row sums to 1; 0 pads a run that ended early.
        trace_degrees: degrees of freedom of Student's t in the interval trace ± t · trace_sem.
        frobenius: estimate of ‖H‖_F.
        frobenius_sem: standard error of ``frobenius``; NaN for a single Lanczos run.
        frobenius_runs: the estimate of each Lanczos run.
        eigenvalues: the leading eigenvalues that converged, by magnitude.
        residuals: for each of ``eigenvalues`` the norm ‖Hv − λv‖; an eigenvalue of H is at most that far away.
        trace_seconds: the part of ``seconds`` that went into the trace, shared equally among all tasks.
        reduction: whether the loss is the ``mean`` or the ``sum`` over the probe set's labels.
        pairs: other task -> ``gradient_cosine``, ``eigenvector_overlap``, ``wasserstein``, ``energy_wasserstein``,
            ``outlier_wasserstein`` (see :mod:`ensemble_mtl.curvature.pairs`). Under the names of ``wasserstein`` and
            ``energy_wasserstein`` with ``_sem`` behind them stand their standard errors.
        eig_min_error: an eigenvalue of H is at most that far away from ``eig_min``.
        eig_max_error: an eigenvalue of H is at most that far away from ``eig_max``.
    """

    task: str
    epoch: int
    num_parameters: int
    num_graphs: int
    loss: float
    trace: float
    trace_sem: float
    trace_samples: int
    eig_min: float
    eig_max: float
    orthogonality: float
    num_matvecs: int
    seconds: float
    nodes: NDArray[np.float64]
    weights: NDArray[np.float64]
    trace_degrees: int
    frobenius: float
    frobenius_sem: float
    frobenius_runs: list[float]
    eigenvalues: list[float]
    residuals: list[float]
    trace_seconds: float
    reduction: str
    pairs: dict[str, dict[str, float]]
    eig_min_error: float
    eig_max_error: float


@dataclass(frozen=True)
class MemberResult:
    """The result of one trained member.

    Attributes:
        member: the member of the plan: ``id``, ``subset``, ``seed``, ``split``, ``fraction``, ``weighting``.
        data_sha256: content hash of the graph store that it was trained on.
        metrics: task -> part (``train``, ``val``, ``test``) -> metric -> value; metrics are ``rmse`` and ``mae`` in the
            physical unit, and ``rmse_scaled`` and ``mae_scaled`` without unit.
        units: task -> physical unit.
        epochs: number of epochs trained.
        best_epoch: epoch of the least validation loss; metrics and predictions are those of its weights.
        stopped_early: whether early stopping ended the training.
        train_seconds: training wall-clock that this member accounts for: each epoch's time, divided by the number of
            members then in the stack.
        stack_seconds: wall-clock of the stack while the member was in it.
        stack_size: number of members in the stack at its start.
        stack_id: identifies the stack; it is the same for all members that were trained together and so share a clock.
        num_parameters: ``total`` and ``shared`` number of parameters.
        device: name of the device that the wall-clock was measured on.
        dtype: precision of training, such as ``float32``.
        versions: package -> version, of the packages that may change a number.
        predictions: task -> ``[n]`` test predictions in physical units, in the order of the split's test part.
        probes: curvature, by epoch and task.
        stack_tasks: the tasks whose heads the stack had, if there were more than the member's.
    """

    member: dict[str, Any]
    data_sha256: str
    metrics: dict[str, dict[str, dict[str, float]]]
    units: dict[str, str]
    epochs: int
    best_epoch: int
    stopped_early: bool
    train_seconds: float
    stack_seconds: float
    stack_size: int
    stack_id: str
    num_parameters: dict[str, int]
    device: str
    dtype: str
    versions: dict[str, str]
    predictions: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    probes: list[ProbeResult] = field(default_factory=list)
    stack_tasks: list[str] = field(default_factory=list)

    @property
    def timed_as(self) -> tuple[str, int, tuple[str, ...]]:
        """What the wall-clock depends on beside the member's work: device, size of the stack, tasks of the stack."""
        return self.device, self.stack_size, tuple(self.stack_tasks)


def write(folder: Path, result: MemberResult) -> None:
    """Write ``folder/result.bp`` and then ``folder/result.json``, each atomically.

    Args:
        folder: the member's folder.
        result: what is written.

    Raises:
        OSError: a file could not be written whole; ``result.json`` is then as it was.
    """
    arrays: dict[str, NDArray[Any]] = {f"{PREDICTION}{task}": values for task, values in result.predictions.items()}
    for index, probe in enumerate(result.probes):
        arrays[f"probe/{index}/nodes"] = probe.nodes
        arrays[f"probe/{index}/weights"] = probe.weights
    bp.save(folder / "result.bp", arrays, {"member": result.member})
    record = {key: value for key, value in asdict(result).items() if key not in ("predictions", "probes")}
    record["probes"] = [probe_record(probe) for probe in result.probes]
    digest = bp.digest(folder / "result.bp")
    atomic.write_json(folder / "result.json", {"format": FORMAT, **record, "arrays_sha256": digest})


def probe_record(probe: ProbeResult) -> dict[str, Any]:
    """Return the probe as JSON values without its arrays; numbers that are not finite become None."""
    return {key: _to_json(value) for key, value in asdict(probe).items() if key not in PROBE_ARRAYS}


def probe_arrays(probe: ProbeResult) -> dict[str, Any]:
    """Return the arrays of the probe as lists; numbers that are not finite, as the padding of nodes, become None."""
    return {name: _to_json(getattr(probe, name).tolist()) for name in PROBE_ARRAYS}


def verify(folder: Path) -> None:
    """Check that the result in ``folder`` is whole; this is quick, since no array is loaded.

    Raises:
        StoreError: a file is missing or damaged, or the two do not belong together; the file is named.
    """
    path = folder / "result.json"
    try:
        expected = json.loads(path.read_text())["arrays_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not a readable result ({type(error).__name__}: {error})") from None
    bp.verify(folder / "result.bp")
    if expected != bp.digest(folder / "result.bp"):
        raise StoreError(
            f"{folder / 'result.bp'}: these are not the arrays that {path.name} was written with; delete {path.name}, "
            "and `ensemble-mtl run` makes both anew"
        )


def read(folder: Path, *, predictions: bool = True) -> MemberResult:
    """Read the result in ``folder``.

    Args:
        folder: the member's folder.
        predictions: whether to load the test predictions, which are the largest part; without them the dict is empty.

    Raises:
        StoreError: a file is missing or damaged, or has another format; the file is named.
    """
    verify(folder)
    path = folder / "result.json"
    try:
        record = json.loads(path.read_text())
        if record.pop("format") != FORMAT:
            raise StoreError(f"{path}: got another format, expected format {FORMAT}")
        del record["arrays_sha256"]
        names = [name for name in bp.names(folder / "result.bp") if predictions or not name.startswith(PREDICTION)]
        arrays, _ = bp.load(folder / "result.bp", names)
        probes = [
            ProbeResult(**_from_json(probe), nodes=arrays[f"probe/{i}/nodes"], weights=arrays[f"probe/{i}/weights"])
            for i, probe in enumerate(record.pop("probes"))
        ]
        test_predictions = {
            name.removeprefix(PREDICTION): array for name, array in arrays.items() if name.startswith(PREDICTION)
        }
        return MemberResult(**record, predictions=test_predictions, probes=probes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not a readable result ({type(error).__name__}: {error})") from None


def _to_json(value: Any) -> Any:
    """Return the value with None for each number that is not finite, at any depth: JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _to_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_to_json(inner) for inner in value]
    return finite_or_none(value) if isinstance(value, float) else value


def _from_json(value: Any) -> Any:
    """Return the value with NaN for each None, at any depth."""
    if isinstance(value, dict):
        return {key: _from_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_from_json(inner) for inner in value]
    return float("nan") if value is None else value
