#!/bin/bash
# VNN-COMP harness: prepare. Arguments: "v1", category, onnx file, vnnlib file. Nothing is kept between instances; what is
# left of the instance before is ended.
[ "$1" = "v1" ] || { echo "expected v1, got '$1'"; exit 1; }
pkill -9 -f "advverify verify" || true
[ -f "$3" ] && [ -f "$4" ]
