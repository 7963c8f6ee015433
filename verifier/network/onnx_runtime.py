"""The judge: the original ONNX file, executed by onnxruntime in its own precision.

No counterexample counts before it has been through here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InvalidModel
from .onnx_reader import input_shapes, load_model


class OnnxJudge:
    """Runs the file as a user would; inputs and outputs are flat, one row an input."""

    def __init__(self, path: str | Path) -> None:
        """Start a single-threaded session.

        Raises:
            InvalidModel: onnxruntime does not accept the file.
        """
        import onnxruntime

        self.path = path
        model = load_model(path)
        initial = {init.name for init in model.graph.initializer}
        value = next(v for v in model.graph.input if v.name not in initial)
        self.shape, _ = input_shapes(value, str(path))
        first = value.type.tensor_type.shape.dim[0]
        self.free_batch = len(self.shape) > 1 and not first.dim_value
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised; it need not be printed too
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # onnxruntime has no exception tree of its own
            raise InvalidModel(f"{path}: onnxruntime refuses the file ({str(error).splitlines()[0]})") from error
        port = self._session.get_inputs()[0]
        self._name = port.name
        self.dtype = np.dtype(np.float64 if port.type == "tensor(double)" else np.float32)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """The outputs: no ending is set apart yet."""
        return self.run(x)

    def run(self, x: np.ndarray) -> np.ndarray:
        """Outputs (batch, outputs) as float64 for inputs (batch, inputs), which are cast to the file's precision.

        Raises:
            InvalidModel: onnxruntime cannot execute the file.
        """
        rows = np.asarray(x).reshape(len(x), -1).astype(self.dtype)
        outputs = []
        for row in rows:  # one by one: the answer must be that of a single execution, whatever the batch axis does
            try:
                result = self._session.run(None, {self._name: row.reshape(self.shape)})[0]
            except Exception as error:  # as above
                reason = str(error).splitlines()[0]
                raise InvalidModel(f"{self.path}: onnxruntime cannot execute the file ({reason})") from error
            outputs.append(np.asarray(result, dtype=np.float64).ravel())
        return np.stack(outputs)
