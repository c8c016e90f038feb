#!/usr/bin/env bash
# Runs the bundle as a MONAI Deploy application, from an environment of its own:
#   bash scripts/deploy/run.sh MASKS OUTPUT [OVERLAY.yaml ...]
# MASKS: a label map, or a folder of them. An overlay sets options of inference.yaml, such as `seed: 1`.
# DEPLOY_WORK (default: deploy) holds the environment and the bundle as the application takes it.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
masks=${1:?name the label maps: bash scripts/deploy/run.sh MASKS OUTPUT}
output=${2:?name the folder to write to: bash scripts/deploy/run.sh MASKS OUTPUT}
shift 2
work=${DEPLOY_WORK:-deploy}
source "$here/scripts/host_environment.sh"
host_environment deploy "$work"
overlays=(--overlay deploy)
for overlay in "$@"; do overlays+=(--overlay "$overlay"); done
bundle=$(python "$here/scripts/package.py" --unpacked "$work" "${overlays[@]}")
mkdir -p "$output"
ulimit -s 32768 2>/dev/null || true # what the SDK asks for
exec python "$here/scripts/deploy/app.py" --input "$masks" --output "$output" --model "$bundle"
