"""Scaled test errors of the FePt studies in ``docs/results``, on one split: numbers to check verdicts by."""

from __future__ import annotations

Cells = dict[tuple[tuple[str, ...], str], dict[tuple[int, int], float]]

TASKS = ("H", "C", "M")

_FEPT = """
HCM H 101.4 121.6 93.54 103.8 103.3 89.25 95.54 100.1 99.63 101.4 89.75 111.1
HCM C 87.72 94.28 82.52 93.79 85.02 85.39 87.19 85.53 84.48 84.56 83.67 86.71
HCM M 130.8 140.2 127.7 136.7 134.5 124.6 129.8 130.4 128.9 130.5 128.8 131.5
HC H 95.4 106.8 86.25 98.16 86.25 97.79 100.4 96.74 80.7 97.07 93.85 109.1
HC C 97.28 95.02 89.83 94.95 89.02 95.91 90.78 88.84 85.58 90.9 89.44 95.48
HM H 98.14 115.1 97.6 90.25 84.64 95.51 97.99 99.02 83.31 103.3 89.69 101.5
HM M 130.4 134.1 134.4 129.8 129.3 130.5 139.8 129.8 123.8 137.5 129.7 135.6
CM C 77.47 87.8 77.54 80.26 76.18 81.56 83.75 87.63 73.87 79.25 73.11 79.73
CM M 118 135.3 121 121.1 119.4 125.5 129.5 126.1 114.5 124.2 111.9 122.2
H H 104.1 112.6 92.9 110.7 98.49 87.81 97.77 100.2 87.78 114.8 85.64 95.48
C C 78.94 82.94 76.53 84.75 78.13 81.93 80.11 83.66 66.26 79.48 73.45 80.66
M M 121.5 130.7 103.3 125.6 115.2 122.1 116.6 121 107.5 113.6 114.6 111.6
"""
_PLATEAU = """
HCM H 70.2 61.89 88 82.68 76.59
HCM C 68.19 63.71 77.29 78.51 73.82
HCM M 105 100.4 122.1 126.6 115.8
H H 68.99 92.06 71.79 67.9 77.79
C C 65.15 59.3 63.93 68.26 62.13
M M 158.8 88.99 121.7 86.86 73.33
"""


def _cells(table: str) -> Cells:
    """Errors by (subset, task) and (split, seed); a line has the subset, the task and 10⁴ × the errors of its seeds."""
    cells: Cells = {}
    for subset, task, *errors in map(str.split, table.strip().splitlines()):
        cells[tuple(subset), task] = {(0, seed): float(error) / 1e4 for seed, error in enumerate(errors)}
    return cells


FEPT = _cells(_FEPT)
"""12 seeds, 7 subsets."""
PLATEAU = _cells(_PLATEAU)
"""5 seeds; single tasks and all together."""
