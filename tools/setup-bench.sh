#!/bin/sh
# Adds to .venv/ what the benchmarks need, and makes .bench/chainlit/ with Chainlit in it, both from the locks.
# Does nothing if that is already there.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONHOME PYTHONPATH

install() { # into an environment, from a lock
    wanted=$(cksum <"requirements/$2.txt")
    if [ "$(cat "$1/.ready-$2" 2>/dev/null || true)" != "$wanted" ]; then
        echo "Installing what requirements/$2.txt lists"
        .venv/bin/uv pip install --no-config --quiet --python "$1/bin/python" --require-hashes -r "requirements/$2.txt"
        echo "$wanted" >"$1/.ready-$2"
    fi
}

install .venv bench
if ! .bench/chainlit/bin/python -c '' 2>/dev/null; then
    .venv/bin/uv venv --no-config --quiet --clear --python .venv/bin/python .bench/chainlit
fi
install .bench/chainlit chainlit
