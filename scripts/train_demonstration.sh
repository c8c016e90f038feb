#!/usr/bin/env bash
# Makes bundle/models/model.pt, slices.pt, unlabelled.pt and regressor.pt again: phantoms, preparation, training. Four hours on one core; rerunning continues.
#   bash scripts/train_demonstration.sh [WORK_FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
use_environment
work=${1:-demonstration}
run() { python -m monai.bundle run "$1" --config_file "$(config "$2")" "${@:3}"; }
config() { # a workflow's file, or a list of it and its overlays
  case $1 in
    slices) echo "['bundle/configs/train.yaml','bundle/configs/slices.yaml']" ;;
    unlabelled) echo "['bundle/configs/train.yaml','bundle/configs/slices.yaml','bundle/configs/unlabelled.yaml']" ;;
    regressor) echo "['bundle/configs/train.yaml','bundle/configs/regressor.yaml']" ;;
    *) echo "bundle/configs/$1.yaml" ;;
  esac
}

run simulating phantoms --output_dir "$work/challenge" \
  --patients 600 --spatial_size "[64,72,56]" --voxel_mm 3.0 --seed 0
run preparing prepare --dataset_dir "$work/challenge" --output_dir "$work/cohort" \
  --spatial_size "[64,64,48]" --voxel_mm "[3.0,3.0,3.0]" --validation_fraction 0.04
run training train --dataset_dir "$work/cohort" --output_dir "$work/run" \
  --max_steps 8000 --decay_from 1500 --cooldown 1800 --augment 0 --threads 1 \
  --data_terms "procedural phantoms: no patient data; a demonstration, not for use on patients"
run training slices --dataset_dir "$work/cohort" --output_dir "$work/slices" \
  --max_steps 6000 --decay_from 2000 --cooldown 1600 --augment 0 --threads 1 \
  --data_terms "procedural phantoms: no patient data; a demonstration, not for use on patients"
python -c "import json, sys
from gliomagen.cohort.datalist import read_cohort
print(json.dumps(sorted({entry['patient'] for entry in read_cohort(sys.argv[1]).training})[:200]))" "$work/cohort" >"$work/two_hundred.json"
run training unlabelled --dataset_dir "$work/cohort" --output_dir "$work/unlabelled" --patients "$work/two_hundred.json" \
  --max_steps 4000 --decay_from 1300 --cooldown 1200 --batch_size 16 --augment 0 --threads 1 \
  --data_terms "procedural phantoms: no patient data; a demonstration, not for use on patients"
run training regressor --dataset_dir "$work/cohort" --output_dir "$work/regressor" --augment 0 --threads 1 \
  --data_terms "procedural phantoms: no patient data; a demonstration, not for use on patients"

cp "$work/run/model.pt" "$work/run/model.json" bundle/models/
for name in slices unlabelled regressor; do
  cp "$work/$name/model.pt" "bundle/models/$name.pt"
  sed "s/\"weights\": \"model.pt\"/\"weights\": \"$name.pt\"/" "$work/$name/model.json" >"bundle/models/$name.json"
done
cp "$work/run/log.jsonl" bundle/docs/demonstration_log.jsonl
