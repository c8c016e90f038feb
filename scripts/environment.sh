# Sourced by the other scripts, from the repository root: use_environment [EXTRA ...] makes `python` one that has
# the package. An active virtual or conda environment is used, and installed into only if something is missing;
# otherwise .venv is made here, with the versions of constraints.txt.

# Prints those of the modules (arguments) that python cannot find, and the package if it is another copy's.
_missing_modules() {
    python - "$@" <<'PYTHON'
import importlib.util
import pathlib
import sys

missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
package = importlib.util.find_spec("gliomagen")
if package is None or pathlib.Path(package.origin).resolve() != pathlib.Path("bundle/gliomagen/__init__.py").resolve():
    missing.append("gliomagen")
print(*missing)
PYTHON
}

_modules_of() {
    echo torch monai ignite nibabel numpy scipy skimage skfmm einops emcee torchmetrics tensorboard matplotlib tqdm yaml fire
    local extra
    for extra in "$@"; do
        case "$extra" in
            test) echo pytest xdist jsonschema ruff mypy psutil safetensors huggingface_hub mlflow sqlalchemy alembic ;;
            nnunet) echo nnunetv2 ;;
            generative) echo generative ;;
        esac
    done
}

_requirement() { # [EXTRA ...] -> . or .[a,b]
    local IFS=,
    if [ $# -eq 0 ]; then echo .; else echo ".[$*]"; fi
}

_use_active() { # ENVIRONMENT [EXTRA ...]
    local environment=$1 missing pins=constraints.txt
    shift
    PATH="$environment/bin:$PATH"
    # shellcheck disable=SC2046
    missing=$(_missing_modules $(_modules_of "$@"))
    [ -z "$missing" ] && return
    echo "installing into $environment, which lacks: $missing" >&2
    if [[ " $missing " != *" torch "* ]]; then # its torch was chosen for its machine: keep it
        pins=$(mktemp)
        python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >"$pins"
    fi
    python -m pip install --quiet -c "$pins" -e "$(_requirement "$@")" >&2
    [ "$pins" = constraints.txt ] || rm -f "$pins"
}

_use_own() { # [EXTRA ...]
    local stamp=.venv/gliomagen-installed hash extra installed="" lacking=yes
    if [ ! -x .venv/bin/python ]; then
        "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
            echo "error: ${PYTHON:-python3} is not Python 3.10 or newer; name one that is, as PYTHON=python3.11" >&2
            return 1
        }
        "${PYTHON:-python3}" -m venv .venv
    fi
    PATH="$PWD/.venv/bin:$PATH"
    hash=$(python -c 'import hashlib, sys; print(hashlib.sha256(b"".join(open(p, "rb").read() for p in sys.argv[1:])).hexdigest())' \
        pyproject.toml constraints.txt)
    # The stamp holds the hash it was installed for, then the extras that are in.
    if [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$hash" ]; then
        installed=$(tail -n +2 "$stamp" | tr '\n' ' ')
        lacking=""
        for extra in "$@"; do
            [[ " $installed" == *" $extra "* ]] || lacking="$lacking $extra"
        done
    fi
    [ -n "$lacking" ] || return 0
    # shellcheck disable=SC2046,SC2086
    set -- $(printf '%s\n' "$@" $installed | sort -u)
    echo "installing $(_requirement "$@") into .venv (one to a few minutes the first time)" >&2
    python -m pip install --quiet -c constraints.txt -e "$(_requirement "$@")" >&2
    printf '%s\n' "$hash" "$@" >"$stamp"
}

use_environment() { # [EXTRA ...]
    if [ -n "${VIRTUAL_ENV:-${CONDA_PREFIX:-}}" ]; then
        _use_active "${VIRTUAL_ENV:-$CONDA_PREFIX}" "$@"
    else
        _use_own "$@"
    fi
    export PATH
}
