"""The executor: the original ONNX file, executed by onnxruntime in its own precision.

No counterexample counts before it has been through here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from ..errors import InvalidModel
from .onnx_file import OnnxFile, open_file
from .onnx_graph import Graph, graph_of
from .onnx_reader import input_shapes

_NOT_IN_FLOAT64 = ["MatMulScaleFusion"]  # keeps a factor in float32, whatever the file's precision


class OnnxExecutor:
    """Runs the file as a user would; inputs and outputs are flat, one row an input."""

    def __init__(self, path: str | Path) -> None:
        """Start a single-threaded session.

        Raises:
            InvalidModel: onnxruntime does not accept the file.
        """
        self.path = path
        file = open_file(path)
        graph = graph_of(file.model, str(path))
        self.shape, _ = input_shapes(graph.entry, str(path))
        self._output, self._name, self._logits_name = graph.output, graph.entry.name, graph.logits
        double = graph.entry.type.tensor_type.elem_type == TensorProto.DOUBLE
        self._disabled = _NOT_IN_FLOAT64 if double else []
        self._session = self._start(_source(file))
        self.has_ending = bool(graph.ending)
        self._graph: Graph | None = graph if graph.ending else None  # till a session of its own computes the logits
        self._logits_session: Any = None
        port = self._session.get_inputs()[0]
        self.dtype = np.dtype(np.float64 if port.type == "tensor(double)" else np.float32)

    def run(self, x: np.ndarray) -> np.ndarray:
        """Outputs (batch, outputs) as float64 for inputs (batch, inputs), which are cast to the file's precision.

        Raises:
            InvalidModel: onnxruntime cannot execute the file.
        """
        return self._execute(self._session, self._output, x)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """The values before the file's ending, as `run` gives the outputs; the outputs where it has no ending.

        Raises:
            InvalidModel: onnxruntime cannot execute the file.
        """
        if self._graph is not None:
            try:
                content = self._graph.cut().SerializeToString()
            except Exception as error:  # protobuf has its own exceptions
                raise InvalidModel(f"{self.path}: too large to be cut before its final {self._graph.ending}") from error
            self._logits_session = self._start(content)
            self._graph = None
        if self._logits_session is None:
            return self.run(x)
        return self._execute(self._logits_session, self._logits_name, x)

    def _start(self, source: str | bytes) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised; it need not be printed too
        try:
            return onnxruntime.InferenceSession(
                source,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,
                disabled_optimizers=self._disabled,
            )
        except Exception as error:  # onnxruntime has no exception tree of its own
            raise InvalidModel(f"{self.path}: onnxruntime refuses the file ({str(error).splitlines()[0]})") from error

    def _execute(self, session: Any, output: str, x: np.ndarray) -> np.ndarray:
        rows = np.asarray(x).reshape(len(x), -1).astype(self.dtype)
        outputs = []
        for row in rows:  # one by one: the answer must be that of a single execution, whatever the batch axis does
            try:
                result = session.run([output], {self._name: row.reshape(self.shape)})[0]
            except Exception as error:  # as above
                reason = str(error).splitlines()[0]
                raise InvalidModel(f"{self.path}: onnxruntime cannot execute the file ({reason})") from error
            outputs.append(np.asarray(result, dtype=np.float64).ravel())
        return np.stack(outputs)


def _source(file: OnnxFile) -> str | bytes:
    """What onnxruntime opens: the file itself, or where it is compressed, what is in it."""
    if not file.compressed:
        return str(file.path)
    try:
        return bytes(file.model.SerializeToString())
    except Exception as error:  # protobuf has its own exceptions
        raise InvalidModel(f"{file.path}: too large when unpacked; give the unpacked file") from error
