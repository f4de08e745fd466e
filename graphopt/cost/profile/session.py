"""Sessions of ONNX Runtime as the profiler needs them: any provider, the optimised graph written out, buffers bound once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from graphopt.errors import RuntimeRefusedError, UnsupportedError
from graphopt.ir.verify import one_line
from graphopt.quality.arrays import AnyArray

CPU = "CPUExecutionProvider"
_LINE = 64  # bytes of a cache line

_DEVICES = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "cuda",
    "NvTensorRTRTXExecutionProvider": "cuda",
    "MIGraphXExecutionProvider": "cuda",
    "ROCMExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
}


def provider_name(text: str) -> str:
    """The provider's full name: `cpu`, `CUDA` and `CUDAExecutionProvider` will do. Raises UnsupportedError, which lists those that exist."""
    available = [str(name) for name in ort.get_available_providers()]
    for name in available:
        if text.lower() in (name.lower(), name.lower().removesuffix("executionprovider")):
            return name
    raise UnsupportedError(
        f"the installed onnxruntime {ort.__version__} offers no provider {text!r}, only {', '.join(available)}; "
        "other providers come with other packages of it (onnxruntime-gpu, onnxruntime-openvino, ...)"
    )


def open_session(
    model: bytes | str | os.PathLike[str],
    threads: int,
    provider: str = CPU,
    *,
    optimize: bool,
    optimized_path: str | None = None,
    prepack: bool = True,
) -> ort.InferenceSession:
    """A session with all of ONNX Runtime's graph optimisation or none. Raises RuntimeRefusedError in one line.

    With `optimized_path` the graph that is executed is written there, its weights beside it in a file of that name and `.data`.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    if not prepack:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if optimized_path is not None:
        options.optimized_model_filepath = optimized_path
        data = os.path.basename(optimized_path) + ".data"
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", data)
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "4096")
    source = model if isinstance(model, bytes) else os.fspath(model)
    try:
        # Operators that a provider lacks run on the CPU, as they would in use.
        return ort.InferenceSession(source, options, providers=[provider] if provider == CPU else [provider, CPU])
    except Exception as error:  # onnxruntime raises a family without a common public base
        raise RuntimeRefusedError(f"ONNX Runtime cannot load the model: {one_line(error)}") from error


def _aligned(array: AnyArray) -> AnyArray:
    """The array at an address as the runtime gives its own values, at the start of a cache line; numpy's are anywhere, which costs time."""
    if array.dtype.hasobject or array.dtype.kind in "US":
        return np.ascontiguousarray(array)
    room = np.empty(array.nbytes + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    found: AnyArray = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


class Bound:
    """A session whose inputs and outputs lie in fixed buffers on the provider's device, so that a call is a run and nothing else."""

    def __init__(self, session: ort.InferenceSession, feeds: Mapping[str, AnyArray], provider: str = CPU) -> None:
        self._session, self._device = session, _DEVICES.get(provider, "cpu")
        self._binding = session.io_binding()
        self._keep: list[Any] = []  # the binding holds no reference to the buffers
        for name, array in feeds.items():
            value = self._value(array)
            self._binding.bind_ortvalue_input(name, value)
        self._bind_outputs([output.name for output in session.get_outputs()])

    def _value(self, array: AnyArray) -> Any:
        value = ort.OrtValue.ortvalue_from_numpy(_aligned(array), self._device, 0)
        self._keep.append((value, array))
        return value

    def _bind_outputs(self, names: Sequence[str]) -> None:
        """Run once to learn the outputs' shapes, then keep those very buffers."""
        for name in names:
            self._binding.bind_output(name, self._device, 0)
        self._call()
        values = self._binding.get_outputs()
        for name, value in zip(names, values, strict=True):
            if value.is_tensor():
                self._keep.append(value)
                self._binding.bind_ortvalue_output(name, value)

    def _call(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            raise RuntimeRefusedError(f"ONNX Runtime cannot run the model: {one_line(error)}") from error

    def __call__(self) -> None:
        """One run; on another device than the CPU, until it is done."""
        self._session.run_with_iobinding(self._binding)
        if self._device != "cpu":
            self._binding.synchronize_outputs()


def static_inputs(session: ort.InferenceSession) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each input. Raises UnsupportedError, which names it, where a size is free."""
    found = {}
    for given in session.get_inputs():
        if not all(isinstance(size, int) and size >= 0 for size in given.shape):
            raise UnsupportedError(f"input {given.name!r} has no fixed shape: {given.shape}")
        found[given.name] = (given.type, tuple(given.shape))
    return found


def elem_type(text: str) -> int:
    """ONNX's number for a type as ONNX Runtime writes it, `tensor(float)` say; UNDEFINED for what is no tensor."""
    if not text.startswith("tensor("):
        return int(onnx.TensorProto.UNDEFINED)
    name = text[len("tensor(") : -1].upper()
    return (
        int(onnx.TensorProto.DataType.Value(name)) if name in dict(onnx.TensorProto.DataType.items()) else int(onnx.TensorProto.UNDEFINED)
    )
