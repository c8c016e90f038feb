#!/usr/bin/env bash
# Makes bundle/models/segmenter.pt and the thresholds of acceptance again, on the phantoms of train_demonstration.sh. Half an hour on one core; rerunning
# continues, and what that script has made in the same folder is used.
#   bash scripts/train_segmenter.sh [WORK_FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
use_environment
work=${1:-demonstration}
run() { python -m monai.bundle run "$1" --config_file "bundle/configs/$2.yaml" "${@:3}"; }

run simulating phantoms --output_dir "$work/challenge" \
  --patients 600 --spatial_size "[64,72,56]" --voxel_mm 3.0 --seed 0
run preparing prepare --dataset_dir "$work/challenge" --output_dir "$work/cohort" \
  --spatial_size "[64,64,48]" --voxel_mm "[3.0,3.0,3.0]" --validation_fraction 0.04
run training segmenter --dataset_dir "$work/cohort" --output_dir "$work/segmenter" \
  --max_steps 1500 --decay_from 400 \
  --data_terms "procedural phantoms: no patient data; a demonstration, not for use on patients"

cp "$work/segmenter/model.pt" bundle/models/segmenter.pt
sed 's/"weights": "model.pt"/"weights": "segmenter.pt"/' "$work/segmenter/model.json" >bundle/models/segmenter.json
run calibrating accept --real_dir "$work/cohort" --output_dir bundle/models
