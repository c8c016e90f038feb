#!/usr/bin/env bash
# The whole way on phantoms, in a few minutes on a laptop: bash scripts/demo.sh [OUT]
# Prints the path of a report, real beside synthetic, as its last line. Running it again continues.
set -euo pipefail
out=$(mkdir -p "${1:-demo-output}" && cd "${1:-demo-output}" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
use_environment
exec python scripts/demo.py "$out"
