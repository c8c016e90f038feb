#!/usr/bin/env bash
# Serves the bundle in MONAI Label, from an environment of its own:
#   bash scripts/label/serve.sh STUDIES [options of monailabel start_server, such as --port 8000]
# STUDIES: a folder of label maps (.nii.gz). LABEL_WORK (default: label) holds the environment and the server's app.
# LABEL_BESIDE: folders of other bundles to serve beside, FOLDER[:FOLDER...].
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
studies=${1:?name the folder of label maps: bash scripts/label/serve.sh STUDIES}
shift
work=${LABEL_WORK:-label}
source "$here/scripts/host_environment.sh"
host_environment label "$work"
[ -d "$work/monaibundle" ] || monailabel apps --name monaibundle --download --output "$work"
python "$here/scripts/package.py" --unpacked "$work/monaibundle/model" --overlay label
models=brats_glioma_mri_synthesis
while read -r -d : other; do
    ln -sfn "$(cd "$other" && pwd)" "$work/monaibundle/model/$(basename "$other")"
    models+=",$(basename "$other")"
done <<<"${LABEL_BESIDE:+$LABEL_BESIDE:}"
# Any source but the default, or the app asks the zoo's address for its list first.
export BUNDLE_DOWNLOAD_SRC=github
exec monailabel start_server --app "$work/monaibundle" --studies "$studies" "$@" \
    --conf models "$models" --conf skip_trainers true --conf sam2 false
