# Sourced: host_environment NAME FOLDER makes FOLDER/env with what scripts/NAME/requirements.txt asks for, anew where that
# has changed, and puts its programs first on PATH. Hosts of MONAI bundles ask for other libraries than this package.
host_environment() { # NAME FOLDER
    local here asked environment
    here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
    asked="$here/$1/requirements.txt"
    mkdir -p "$2"
    environment="$(cd "$2" && pwd)/env"
    if ! cmp --silent "$asked" "$environment/installed.txt"; then
        if ! "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            echo "error: ${PYTHON:-python3} is older than 3.11, which scripts/$1/requirements.txt asks for; name a newer one in PYTHON" >&2
            return 1
        fi
        echo "installing what MONAI ${1^} needs into $environment (some minutes, once)" >&2
        rm -rf "$environment"
        "${PYTHON:-python3}" -m venv "$environment" &&
            "$environment/bin/python" -m pip install --quiet --no-compile --no-deps -r "$asked" >&2 &&
            "$environment/bin/python" -m pip check >&2 &&
            cp "$asked" "$environment/installed.txt" || return 1
    fi
    unset VIRTUAL_ENV PYTHONPATH # another environment's libraries would come first
    PATH="$environment/bin:$PATH"
    # Package registries hold torchvision's CUDA build only; beside a CPU build of torch it fails to import.
    if python -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("torchvision"))' &&
        ! python -c 'import torchvision' 2>/dev/null; then
        export PYTHONPATH="$here/../tests/support"
    fi
}
