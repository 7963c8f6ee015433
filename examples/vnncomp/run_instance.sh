#!/bin/bash
# VNN-COMP harness: run. Arguments: "v1", category, onnx file, vnnlib file, result file, timeout in seconds.
[ "$1" = "v1" ] || { echo "expected v1, got '$1'"; exit 1; }
root=$(cd "$(dirname "$0")/../.." && pwd)
exec "$root/.venv/bin/advverify" verify "$3" "$4" --timeout "$6" --result "$5"
