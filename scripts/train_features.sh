#!/usr/bin/env bash
# Makes bundle/models/features.pt again, the network that evaluation judges by: on phantoms of another seed than those of
# train_demonstration.sh, so that it knows no patient of theirs. About an hour on one core; rerunning continues.
#   bash scripts/train_features.sh [WORK_FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
use_environment
work=${1:-judges}
run() { python -m monai.bundle run "$1" --config_file "$2" "${@:3}"; }

run simulating bundle/configs/phantoms.yaml --output_dir "$work/challenge" \
  --patients 400 --spatial_size "[64,72,56]" --voxel_mm 3.0 --seed 3
run preparing bundle/configs/prepare.yaml --dataset_dir "$work/challenge" --output_dir "$work/cohort" \
  --spatial_size "[64,64,48]" --voxel_mm "[3.0,3.0,3.0]" --validation_fraction 0.06
run training "['bundle/configs/segmenter.yaml','bundle/configs/features.yaml']" --dataset_dir "$work/cohort" \
  --output_dir "$work/features" --half all --max_steps 6000 --decay_from 800 \
  --data_terms "procedural phantoms: no patient data; a demonstration, not for use on patients"

cp "$work/features/model.pt" bundle/models/features.pt
sed 's/"weights": "model.pt"/"weights": "features.pt"/' "$work/features/model.json" >bundle/models/features.json
