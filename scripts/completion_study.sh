#!/usr/bin/env bash
# All that bundle/docs/completion.md measures: phantoms nobody trained on, edited label maps, a regression of missing contrasts
# trained as long as the generator, completed scans, segmenters trained on them, CT; and slices of real scans, where a folder
# of them is given. Most of a day on two cores; rerunning continues.
#   bash scripts/completion_study.sh [WORK_FOLDER] [REAL_SLICES]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
use_environment
work=$(mkdir -p "${1:-completion-study}" && cd "${1:-completion-study}" && pwd)
real=${2:-}
run() { python -m monai.bundle run "$1" --config_file "$2" "${@:3}"; }
config() { echo "bundle/configs/$1.yaml"; }
regression="'scripts/completion/regression.yaml'"

phantoms() { # folder, patients, seed, share that is validation
  run simulating "$(config phantoms)" --output_dir "$1/challenge" \
    --patients "$2" --spatial_size "[64,72,56]" --voxel_mm 3.0 --seed "$3"
  run preparing "$(config prepare)" --dataset_dir "$1/challenge" --output_dir "$1/cohort" \
    --spatial_size "[64,64,48]" --voxel_mm "[3.0,3.0,3.0]" --validation_fraction "$4"
}
phantoms "$work/demonstration" 600 0 0.04
phantoms "$work/held-out" 96 31 0.5
run augmenting "$(config augment)" --dataset_dir "$work/held-out/cohort" --output_dir "$work/held-out/edited" \
  --section validation --variants 1 --weights "{'transplant': 0.5, 'edit': 0.5}"
run training "['$(config train)',$regression]" --dataset_dir "$work/demonstration/cohort" --output_dir "$work/regression" \
  --max_steps 5000 --decay_from 1500 --cooldown 1300 --augment 0 --threads 1
python scripts/completion_study.py "$work/held-out/cohort" --edited "$work/held-out/edited" \
  --regression "$work/regression/model.pt" --work "$work/study"
python scripts/completion_downstream.py "$work/held-out/cohort" --work "$work/downstream" --jobs 2
python scripts/completion_ct.py --work "$work/ct"

if [ -n "$real" ]; then
  run preparing "$(config prepare)" --dataset_dir "$real" --output_dir "$work/real/cohort" --contrasts "['t1c','t1n','t2f']" \
    --head whole_head --spatial_size "[128,128,None]" --voxel_mm "[None,None,None]" --validation_fraction 0.275
  run augmenting "$(config augment)" --dataset_dir "$work/real/cohort" --output_dir "$work/real/edited" \
    --section validation --variants 1 --weights "{'transplant': 1}"
  for kind in generator regression; do
    overlay=$([ "$kind" = generator ] || echo ",$regression")
    run training "['$(config train)','$(config slices)'$overlay]" --dataset_dir "$work/real/cohort" \
      --output_dir "$work/real/$kind" --contrasts "['t1c','t1n','t2f']" --max_steps 2000 --decay_from 700 --cooldown 600
  done
  python scripts/completion_study.py "$work/real/cohort" --name "real slices" --weights "$work/real/generator/model.pt" \
    --regression "$work/real/regression/model.pt" --edited "$work/real/edited" --overlay "$(config slices)" --work "$work/real/study"
fi
