#!/usr/bin/env bash
# Makes .venv from requirements-dev.lock. `make setup` runs it when the lock, pyproject.toml or this file changed.
# PYTHON=/path/to/python chooses the interpreter. `setup.sh bench` makes .venv-bench, for the peers of the benchmarks.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

UV=uv==0.13.8

fail() {
  printf 'error: %s\n' "$@" >&2
  exit 1
}

# A name on the PATH says little: version managers leave shims that only print an error.
usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
    if usable "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.11 or newer was not found${PYTHON:+ at PYTHON=$PYTHON}." \
    "Install it (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python)," \
    "or name one: make setup PYTHON=/path/to/python3"
}

make_environment() {
  local python
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments. Debian, Ubuntu: apt-get install python3-venv"
  echo "making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
}

install() {
  local pip=(.venv/bin/python -m pip --quiet --disable-pip-version-check)
  "${pip[@]}" install "$UV"
  echo "installing what requirements-dev.lock pins"
  # uv is quick, but does not read pip's configuration: where an index is set there, pip still finds it.
  .venv/bin/uv --quiet pip install --python .venv/bin/python --require-hashes -r requirements-dev.lock ||
    "${pip[@]}" install --require-hashes -r requirements-dev.lock
  "${pip[@]}" install --no-deps --editable .
}

install_peers() {
  .venv/bin/python -m venv --clear .venv-bench
  echo "installing the benchmarks' peers, as requirements-bench.lock pins them"
  .venv/bin/uv --quiet pip install --python .venv-bench/bin/python --require-hashes -r requirements-bench.lock ||
    .venv-bench/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements-bench.lock
  touch .venv-bench/.complete
}

if [ "${1:-}" = bench ]; then
  install_peers
  exit
fi
usable .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1 || make_environment
trap 'fail "the packages could not be installed; the reason stands above. Is a package index reachable?"' ERR
install
touch .venv/.complete
