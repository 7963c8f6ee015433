"""The intermediate representation: a DAG of affine maps, ReLUs and maxima, and how ONNX files become one."""
