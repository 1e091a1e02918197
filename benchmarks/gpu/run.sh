#!/usr/bin/env bash
# Check a GPU on a machine without a network: unpack what benchmarks/gpu/pack.py packed, then run every part.
# Arguments are those of `python -m benchmarks.gpu`; results go to --out, else to $OUT, else to .gpu/results. Relative
# paths are those of the repository. Whatever cannot be unpacked is said, and the parts tell what they miss.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
packed=${PACKED:-.gpu}
python=${PYTHON:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

if compgen -G "$packed/wheels/*.whl" >/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$place/site" \
        "$packed"/wheels/*.whl || echo "the wheels were not installed: they are made for Python 3.12 on x86-64 Linux"
fi
export OMP_NUM_THREADS=1
export PYTHONPATH="$place/site:$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}"

# A numba that does not know the numpy at hand is left: no compiled loop runs on a GPU.
if ! "$python" -c 'import numba; numba.njit(lambda x: x + 1)(1)' 2>"$place/numba.txt"; then
    echo "numba does not run here ($(tail -n 1 "$place/numba.txt")); its stand-in takes its place"
    export PYTHONPATH="$PWD/benchmarks/gpu/stand_in:$PYTHONPATH"
fi

data=()
if [ -f "$packed/data.tar.xz" ]; then
    if "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="data")' \
        "$packed/data.tar.xz" "$place/data"; then
        data=(--data "$place/data")
    fi
fi
if [ "${#data[@]}" -eq 0 ]; then
    echo "no $packed/data.tar.xz that can be read: stand-ins take the place of the published data"
fi
"$python" -m benchmarks.gpu "${data[@]}" "$@"
