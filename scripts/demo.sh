#!/usr/bin/env bash
# The whole way on phantoms, in a few minutes on a laptop: bash scripts/demo.sh [OUT] [--study]
# Prints the path of a report, real beside synthetic, as its last line. Running it again continues.
# --study also trains nnU-Net for a few iterations with and without the synthetic cases, to show that path.
set -euo pipefail
folder=demo-output study=() extras=()
for word in "$@"; do
    if [ "$word" = --study ]; then study=(--study) extras=(nnunet); else folder=$word; fi
done
out=$(mkdir -p "$folder" && cd "$folder" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
use_environment ${extras[@]+"${extras[@]}"}
exec python scripts/demo.py "$out" ${study[@]+"${study[@]}"}
