#!/bin/sh
# Makes .venv/ with everything that is in the locks and the project itself, editable.
# Does nothing if that is already there. PYTHON=… chooses the interpreter of a new .venv/.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONHOME PYTHONPATH

stamp=.venv/.ready
here=$(pwd -P) # part of the stamp: the scripts of a copied .venv run the interpreter they were made for
wanted="$(cat requirements/build.txt requirements/dev.txt pyproject.toml | cksum) $here"

works() { # a version manager's shim can be there and run nothing, a distribution's python can lack ensurepip
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        if works "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    cat >&2 <<MESSAGE
make setup: needs Python 3.11 or newer with venv and ensurepip; tried: ${PYTHON:-python3.13, python3.12, python3.11, python3}.
On Debian and Ubuntu: apt-get install python3 python3-venv. Or name one: make setup PYTHON=/path/to/python3
MESSAGE
    return 1
}

install() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input "$@"
}

found=$(cat "$stamp" 2>/dev/null || true) # checksum, size, folder
if [ "${found#* * }" != "$here" ] || ! .venv/bin/python -c '' 2>/dev/null; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
elif [ "$found" = "$wanted" ]; then
    exit 0
fi
echo "0 0 $here" >"$stamp"
echo "Installing what requirements/build.txt and requirements/dev.txt list"
install --require-hashes -r requirements/build.txt
install --require-hashes --no-build-isolation -r requirements/dev.txt
install --no-deps --no-build-isolation --no-index --editable .
echo "$wanted" >"$stamp"
