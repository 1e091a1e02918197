"""A member's result on disk: numbers in ``result.json``, arrays in ``result.bp``.

The arrays are written first and ``result.json`` last, so that its existence means that
the member is done. It holds the digest of the arrays, which is verified on load.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.core.errors import StoreError
from ensemble_mtl.core.storage import atomic, bp

FORMAT = 1
PROBE_ARRAYS = ("nodes", "weights")
"""Fields of a :class:`ProbeResult` that are arrays."""


@dataclass(frozen=True)
class ProbeResult:
    """Curvature of one task's loss at one epoch, of one member.

    Attributes:
        task: whose loss.
        epoch: 0 is before training.
        num_parameters: size P of the shared parameters.
        num_graphs: size of the probe set.
        loss: the task's loss on the probe set.
        trace: estimate of tr H.
        trace_sem: standard error of ``trace``.
        trace_samples: number of samples behind ``trace``.
        eig_min: smallest Ritz value.
        eig_max: largest Ritz value.
        orthogonality: max |QᵀQ − I| of the Lanczos basis.
        num_matvecs: Hessian-vector products of the density and quadratic forms of the trace.
        seconds: time spent on this task, per member of the stack.
        nodes: ``[starts, steps]`` Ritz values (quadrature nodes); NaN pads an early end.
        weights: ``[starts, steps]`` quadrature weights, each row sums to 1; 0 pads.
        trace_degrees: degrees of freedom of Student's t in the interval trace ± t · trace_sem;
            0 in results written before it was recorded, as are the following ones.
        frobenius: estimate of ‖H‖_F.
        frobenius_sem: its standard error; not a number for a single Lanczos run.
        frobenius_runs: as each Lanczos run has it.
        eigenvalues: the leading ones that converged, by magnitude.
        residuals: ‖Hv − λv‖ of each; an eigenvalue lies as near.
        trace_seconds: the part of ``seconds`` that went into the trace, which all tasks share alike.
        reduction: whether the loss is the mean or the sum over the probe set's labels.
        pairs: other task -> ``gradient_cosine``, ``eigenvector_overlap``, ``wasserstein``,
            ``energy_wasserstein``, ``outlier_wasserstein`` (see :mod:`ensemble_mtl.curvature.pairs`), and with
            ``_sem`` the standard errors of ``wasserstein`` and ``energy_wasserstein``.
        eig_min_error: an eigenvalue lies as near to ``eig_min``.
        eig_max_error: likewise.
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
    trace_degrees: int = 0
    frobenius: float = float("nan")
    frobenius_sem: float = float("nan")
    frobenius_runs: list[float] = field(default_factory=list)
    eigenvalues: list[float] = field(default_factory=list)
    residuals: list[float] = field(default_factory=list)
    trace_seconds: float = float("nan")
    reduction: str = "mean"
    pairs: dict[str, dict[str, float]] = field(default_factory=dict)
    eig_min_error: float = float("nan")
    eig_max_error: float = float("nan")


@dataclass(frozen=True)
class MemberResult:
    """Everything that gather needs of one member.

    Attributes:
        member: ``id``, ``subset``, ``seed``, ``split``, ``fraction``.
        data_sha256: content hash of the graph store it was trained on.
        metrics: task -> part (``train``, ``val``, ``test``) -> metric -> value; metrics are
            ``rmse``, ``mae`` (physical unit) and ``rmse_scaled``, ``mae_scaled``.
        units: task -> physical unit.
        epochs: epochs trained.
        best_epoch: epoch of the least validation loss, whose weights are kept.
        stopped_early: whether early stopping ended the training.
        train_seconds: training wall-clock that this member accounts for: each epoch's
            time divided by the number of members then in the stack.
        stack_seconds: wall-clock of the stack while the member was in it.
        stack_size: members in the stack at its start.
        num_parameters: ``total`` and ``shared``.
        device: what the wall-clock was measured on.
        dtype: precision of training.
        versions: of the packages that matter.
        predictions: task -> ``[n]`` test predictions in physical units, in split order.
        probes: curvature, by epoch and task.
        stack_id: the same for all members that were trained together and so share one clock;
            empty in results written before it was recorded.
        stack_tasks: those whose heads the stack had, if they are more than the member's own.
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
    num_parameters: dict[str, int]
    device: str
    dtype: str
    versions: dict[str, str]
    predictions: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    probes: list[ProbeResult] = field(default_factory=list)
    stack_id: str = ""
    stack_tasks: list[str] = field(default_factory=list)

    @property
    def timed_as(self) -> tuple[str, int, tuple[str, ...]]:
        """What its wall-clock depends on beside the work: device, size of the stack, heads that are not its own."""
        return self.device, self.stack_size, tuple(self.stack_tasks)


def write(folder: Path, result: MemberResult) -> None:
    """Make ``folder/result.bp`` and then ``folder/result.json``, each atomically."""
    arrays: dict[str, NDArray[Any]] = {f"prediction/{task}": values for task, values in result.predictions.items()}
    for index, probe in enumerate(result.probes):
        arrays[f"probe/{index}/nodes"] = probe.nodes
        arrays[f"probe/{index}/weights"] = probe.weights
    bp.save(folder / "result.bp", arrays, {"member": result.member})
    record = {key: value for key, value in asdict(result).items() if key not in ("predictions", "probes")}
    record["probes"] = [probe_record(probe) for probe in result.probes]
    digest = bp.digest(folder / "result.bp")
    atomic.write_json(folder / "result.json", {"format": FORMAT, **record, "arrays_sha256": digest})


def probe_record(probe: ProbeResult) -> dict[str, Any]:
    """The probe as JSON values, without its arrays; null is what is not finite."""
    return {key: _to_json(value) for key, value in asdict(probe).items() if key not in PROBE_ARRAYS}


def probe_arrays(probe: ProbeResult) -> dict[str, Any]:
    """The arrays of the probe as lists, null where they are padded."""
    return {name: _to_json(getattr(probe, name).tolist()) for name in PROBE_ARRAYS}


def verify(folder: Path) -> None:
    """Raise StoreError unless the result in ``folder`` is whole; cheap, nothing is loaded."""
    path = folder / "result.json"
    try:
        expected = json.loads(path.read_text())["arrays_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not a readable result ({type(error).__name__}: {error})") from None
    bp.verify(folder / "result.bp")
    if expected != bp.digest(folder / "result.bp"):
        raise StoreError(f"{folder / 'result.bp'}: not the arrays that {path.name} was written with")


def read(folder: Path, *, predictions: bool = True) -> MemberResult:
    """The result in ``folder``.

    Args:
        folder: the member's folder.
        predictions: whether to load the test predictions, the largest part.

    Raises:
        StoreError: it is not whole, or not what was written; the file is named.
    """
    verify(folder)
    path = folder / "result.json"
    try:
        record = json.loads(path.read_text())
        if record.pop("format") != FORMAT:
            raise StoreError(f"{path}: written in another format; expected format {FORMAT}")
        del record["arrays_sha256"]
        stored = bp.names(folder / "result.bp")
        wanted = [name for name in stored if predictions or not name.startswith("prediction/")]
        arrays, _ = bp.load(folder / "result.bp", wanted)
        probes = [
            ProbeResult(**_from_json(probe), nodes=arrays[f"probe/{i}/nodes"], weights=arrays[f"probe/{i}/weights"])
            for i, probe in enumerate(record.pop("probes"))
        ]
        found = {
            name.removeprefix("prediction/"): array for name, array in arrays.items() if name.startswith("prediction/")
        }
        return MemberResult(**record, predictions=found, probes=probes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not a readable result ({type(error).__name__}: {error})") from None


def _to_json(value: Any) -> Any:
    """JSON has no NaN and no infinity; an estimate that overflowed is null, at any depth."""
    if isinstance(value, dict):
        return {key: _to_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_to_json(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _from_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_from_json(inner) for inner in value]
    return float("nan") if value is None else value
