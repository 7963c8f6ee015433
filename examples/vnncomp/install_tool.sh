#!/bin/bash
# VNN-COMP harness: install. Arguments: "v1".
set -e
[ "$1" = "v1" ] || { echo "expected v1, got '$1'"; exit 1; }
root=$(cd "$(dirname "$0")/../.." && pwd)
python3 -m venv "$root/.venv"
"$root/.venv/bin/pip" install -q -c "$root/constraints.txt" "$root"
