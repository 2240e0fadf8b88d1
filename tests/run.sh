#!/usr/bin/env bash
# All checks and tests. Needs Rust, Python >= 3.11 and access to the package registries.
# Arguments go to pytest: `bash tests/run.sh tests/police -x`. With `--clusters` first, real
# schedulers are brought up for the tests that need one; that takes root on Debian.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${BATCHWRIGHT_VENV:-.venv}
step() { printf '\n== %s\n' "$*"; }

if [ "${1:-}" = --clusters ]; then
    shift
    # shellcheck source=clusters/all.sh
    source tests/clusters/all.sh
fi

step "environment"
if [ ! -x "$venv/bin/python" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
# Installed as users do, not editable: what is tested is what the wheel holds.
"$venv/bin/python" -m pip install --quiet ".[test,lint]"
PATH="$(cd "$venv" && pwd)/bin:$PATH"

step "rust: format, lints, tests"
cargo fmt --all --check
cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
# The extension is tested through Python.
if command -v cargo-nextest >/dev/null; then
    cargo nextest run --locked --workspace --exclude batchwright-py --features arrow \
        --no-tests=pass --cargo-quiet
    cargo test --quiet --locked --workspace --exclude batchwright-py --features arrow --doc
else
    cargo test --quiet --locked --workspace --exclude batchwright-py --features arrow
fi

step "python: format, lints, types"
ruff format --check .
ruff check .
pyright --pythonpath "$venv/bin/python"
python -m mypy.stubtest --ignore-unused-allowlist \
    --allowlist tests/police/stubtest.txt batchwright._core

step "examples in docstrings"
# Run on the installed package: the sources lack the extension.
package=$(cd / && python -c 'import batchwright; print(*batchwright.__path__)')
code=0
python -m pytest -c pyproject.toml --rootdir "$package" -p no:cacheprovider -q \
    --import-mode=prepend --doctest-modules "$package" || code=$?
# 5: no docstring has an example yet.
[ "$code" = 0 ] || [ "$code" = 5 ]

step "python: tests"
python -m pytest -n 2 "$@"
