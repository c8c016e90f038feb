#!/usr/bin/env bash
# The downstream study on phantoms: 100 patients to train on, 40 to validate; a generator and an
# acceptance that know the former alone; every published arm and the control, with the quick network, three times each. Rerunning continues.
#   bash scripts/phantom_study.sh [WORK_FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
use_environment
work=${1:-phantom-study}
run() { python -m monai.bundle run "$1" --config_file "bundle/configs/$2.yaml" --threads 1 "${@:3}"; }

python -m monai.bundle run simulating --config_file bundle/configs/phantoms.yaml --output_dir "$work/challenge" \
  --patients 140 --spatial_size "[64,72,56]" --voxel_mm 3.0 --seed 21
python -m monai.bundle run preparing --config_file bundle/configs/prepare.yaml --dataset_dir "$work/challenge" \
  --output_dir "$work/cohort" --spatial_size "[64,64,48]" --voxel_mm "[3.0,3.0,3.0]" --validation_fraction 0.286
run training train --dataset_dir "$work/cohort" --output_dir "$work/generator" \
  --max_steps 2500 --decay_from 1500 --cooldown 600 --augment 0
python -m monai.bundle run augmenting --config_file bundle/configs/augment.yaml --dataset_dir "$work/cohort" \
  --output_dir "$work/masks" --count 240
run synthesizing synthesize --dataset_dir "$work/masks" --output_dir "$work" --weights "$work/generator/model.pt"
run training segmenter --dataset_dir "$work/cohort" --output_dir "$work/segmenter" --half 0 --max_steps 1500 --decay_from 400
run accepting accept --real_dir "$work/cohort" --dataset_dir "$work/nnUNet_raw/Dataset501_SyntheticGlioma" \
  --masks_dir "$work/masks" --segmenter "$work/segmenter/model.pt" --thresholds_by 1
run studying study --real_dir "$work/cohort" --synthetic_dir "$work/nnUNet_raw/Dataset501_SyntheticGlioma" \
  --output_dir "$work/study" --segmenter quick --jobs 2 \
  --max_steps 3000 --quick_options "{'decay_from': 400}" --device cpu
