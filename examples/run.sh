#!/usr/bin/env bash
# Builds and installs batchwright into .venv and runs the example.
# Needs Rust, Python >= 3.11 and access to the package registries.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${BATCHWRIGHT_VENV:-.venv}
if [ ! -x "$venv/bin/python" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
"$venv/bin/python" -m pip install --quiet .
exec "$venv/bin/python" examples/pi.py "$@"
