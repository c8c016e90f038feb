#!/usr/bin/env bash
# The tests: bash scripts/test.sh                  everything: style, types, tests, hosts of MONAI bundles in .hosts (5 GB)
#            bash scripts/test.sh tests/test_volume.py -k gzip    pytest with these arguments, nothing else
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
if [ $# -eq 0 ]; then
    # MONAI Label and Deploy ask for other libraries than this package: each gets an environment of its own, made
    # while this package's is.
    export GLIOMAGEN_HOSTS="${GLIOMAGEN_HOSTS:-.hosts}"
    (
        source scripts/host_environment.sh
        for host in deploy label; do host_environment "$host" "$GLIOMAGEN_HOSTS/$host" || exit 1; done
    ) &
    hosts=$!
fi
use_environment test nnunet generative

# Small tensors on a few cores: more threads only wait for each other, and results do not hang on their number.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MPLBACKEND=Agg
# nnU-Net brings torchvision, and package registries hold its CUDA build only: beside a CPU build of torch it fails
# to import, and torchmetrics with it. tests/support/sitecustomize.py mends that, in child processes too.
if ! python -c 'import torchvision' 2>/dev/null; then
    export PYTHONPATH="$PWD/tests/support${PYTHONPATH:+:$PYTHONPATH}"
fi

if [ $# -gt 0 ]; then
    exec python -m pytest "$@"
fi
python -m ruff check .
python -m ruff format --check .
python -m mypy bundle/gliomagen
wait "$hosts" || {
    echo "error: the environments of MONAI Label and Deploy could not be made, see above" >&2
    exit 1
}
# One worker per core of the smallest machine we care for; a file stays with a worker, so that its fixtures are made once.
exec python -m pytest -q -n 2 --dist loadfile
