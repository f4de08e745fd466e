"""A small convolutional ONNX model as a torch module, for tools that take nothing else. Runs in the interpreter that has torch.

    python benchmarks/_onnx_to_torch.py MODEL.onnx

prints how far its outputs are from ONNX Runtime's. Convolutions, normalizations and products become nn.Conv2d, nn.BatchNorm2d and nn.Linear
modules, named like their nodes; everything else is a function between them. What it does not know raises ValueError.
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional


class Converted(nn.Module):
    """The nodes of a model in order; called with its inputs, returns its output, or a tuple of several."""

    def __init__(self, model):
        super().__init__()
        graph = model.graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in constants]
        self.outputs = [value.name for value in graph.output]
        self.steps, self.fixed = [], {}
        self.layers = nn.ModuleDict()
        for node in graph.node:
            attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            if node.op_type == "Constant":
                constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
                continue
            if node.domain or node.op_type not in _MAKERS:
                raise ValueError(f"{node.op_type} {node.name!r} is not known")
            weights = [constants.get(name) if name else None for name in node.input]
            step = _MAKERS[node.op_type](attributes, weights)
            if isinstance(step, nn.Module):
                name = (node.name or node.output[0]).strip("/").replace(".", "_").replace("/", "_")
                name = name if name not in self.layers else f"{name}_{len(self.steps)}"
                self.layers[name] = step
                sources = list(node.input[:1])
            else:
                name = None
                sources = [name for name in node.input if name and (name not in constants or node.op_type in _ARITHMETIC)]
                for source in set(sources) & set(constants):
                    self.fixed[source] = torch.from_numpy(constants[source].copy())
            if set(node.input[:1]) <= set(constants):
                raise ValueError(f"{node.op_type} {node.name!r} computes with constants alone")
            self.steps.append((name, step if name is None else None, sources, node.output[0]))
        self.eval()

    def forward(self, *arrays):
        values = {**self.fixed, **dict(zip(self.inputs, arrays, strict=True))}
        for name, function, sources, output in self.steps:
            values[output] = (self.layers[name] if name is not None else function)(*(values[source] for source in sources))
        found = tuple(values[name] for name in self.outputs)
        return found if len(found) > 1 else found[0]


def converted(path):
    """The model of a file as a torch module, in evaluation mode."""
    return Converted(onnx.load(path))


class _Padded(nn.Module):
    """A module behind zeros that differ from side to side, `pads` as functional.pad takes them, or that `same` finds from the input's size."""

    def __init__(self, inner, pads=None, same=None, kernel=(), strides=()):
        super().__init__()
        self.inner, self.pads, self.same, self.kernel, self.strides = inner, pads, same, kernel, strides

    def forward(self, x):
        pads = self.pads
        if pads is None:
            pads = []
            for axis in reversed(range(len(self.kernel))):
                size, stride = x.shape[2 + axis], self.strides[axis]
                total = max((-(-size // stride) - 1) * stride + self.kernel[axis] - size, 0)
                less, more = total // 2, total - total // 2
                pads += [more, less] if self.same == "SAME_LOWER" else [less, more]
        return self.inner(functional.pad(x, pads))


def _tensor(array):
    return nn.Parameter(torch.from_numpy(np.array(array, np.float32)))


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _padding(attributes, kernel, strides, dilations):
    """(what the module itself pads, its same on both sides) and what must be done in front: None, or arguments of _Padded."""
    axes = len(kernel)
    auto = _text(attributes.get("auto_pad", "NOTSET"))
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        reach = tuple(d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True))
        if set(strides) == {1} and all(size % 2 for size in reach):
            return tuple(size // 2 for size in reach), None
        return (0,) * axes, {"same": auto, "kernel": reach, "strides": strides}
    pads = tuple(attributes.get("pads", (0,) * 2 * axes)) if auto == "NOTSET" else (0,) * 2 * axes
    if pads[:axes] == pads[axes:]:
        return pads[:axes], None
    return (0,) * axes, {"pads": [pads[axis + side * axes] for axis in reversed(range(axes)) for side in (0, 1)]}


def _conv(attributes, weights):
    weight, bias = weights[1], weights[2] if len(weights) > 2 else None
    if weight is None or weight.ndim not in (3, 4, 5):
        raise ValueError("a convolution without a constant weight of 3 to 5 axes")
    axes = weight.ndim - 2
    kernel = weight.shape[2:]
    strides, dilations = (tuple(attributes.get(name, (1,) * axes)) for name in ("strides", "dilations"))
    inside, front = _padding(attributes, kernel, strides, dilations)
    groups = attributes.get("group", 1)
    made = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](
        weight.shape[1] * groups, weight.shape[0], kernel, strides, inside, dilations, groups, bias=bias is not None
    )
    made.weight = _tensor(weight)
    if bias is not None:
        made.bias = _tensor(bias)
    return made if front is None else _Padded(made, **front)


def _normalization(attributes, weights):
    scale, shift, mean, variance = weights[1:5]
    made = nn.BatchNorm2d(len(scale), eps=attributes.get("epsilon", 1e-5))
    made.weight, made.bias = _tensor(scale), _tensor(shift)
    made.running_mean, made.running_var = (torch.from_numpy(np.array(array, np.float32)) for array in (mean, variance))
    return made


def _linear(matrix, bias):
    made = nn.Linear(matrix.shape[1], matrix.shape[0], bias=bias is not None)
    made.weight = _tensor(matrix)
    if bias is not None:
        made.bias = _tensor(np.broadcast_to(np.ravel(bias), matrix.shape[:1]))
    return made


def _gemm(attributes, weights):
    weight, bias = weights[1], weights[2] if len(weights) > 2 else None
    if weight is None or attributes.get("transA", 0):
        raise ValueError("a Gemm of two computed factors, or with a turned first one")
    matrix = weight if attributes.get("transB", 0) else weight.T
    return _linear(matrix * attributes.get("alpha", 1.0), None if bias is None else bias * attributes.get("beta", 1.0))


def _matmul(_, weights):
    if weights[1] is None or weights[1].ndim != 2:
        raise ValueError("a MatMul without a constant matrix on its right")
    return _linear(weights[1].T, None)


def _pool(module):
    def made(attributes, _):
        kernel = tuple(attributes["kernel_shape"])
        strides = tuple(attributes.get("strides", (1,) * len(kernel)))
        inside, front = _padding(attributes, kernel, strides, tuple(attributes.get("dilations", (1,) * len(kernel))))
        options = {"stride": strides, "padding": inside, "ceil_mode": bool(attributes.get("ceil_mode", 0))}
        if module is functional.avg_pool2d:
            options["count_include_pad"] = bool(attributes.get("count_include_pad", 0))
        if front is not None:
            raise ValueError("a pooling whose padding differs from side to side")
        return lambda x: module(x, kernel, **options)

    return made


def _reshape(_, weights):
    shape = [int(size) for size in weights[1]]
    # Not the sizes as they were, which pruning changes: one axis of all that is left after the first.
    return lambda x: x.flatten(1) if len(shape) == 2 else x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _mean(attributes, weights):
    axes = attributes.get("axes")
    axes = [int(axis) for axis in (weights[1] if axes is None else axes)]
    return lambda x: x.mean(axes, keepdim=bool(attributes.get("keepdims", 1)))


def _clip(attributes, weights):
    low, high = (attributes.get(name, weights[slot] if len(weights) > slot else None) for slot, name in ((1, "min"), (2, "max")))
    return lambda x: x.clamp(None if low is None else float(low), None if high is None else float(high))


_ARITHMETIC = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul}
_MAKERS = {
    "Conv": _conv,
    "BatchNormalization": _normalization,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MaxPool": _pool(functional.max_pool2d),
    "AveragePool": _pool(functional.avg_pool2d),
    "GlobalAveragePool": lambda *_: lambda x: x.mean((2, 3), keepdim=True),
    "ReduceMean": _mean,
    "Flatten": lambda attributes, _: lambda x: x.flatten(attributes.get("axis", 1)),
    "Reshape": _reshape,
    "Relu": lambda *_: torch.relu,
    "Clip": _clip,
    "Sigmoid": lambda *_: torch.sigmoid,
    "Softmax": lambda attributes, _: lambda x: x.softmax(attributes.get("axis", -1)),
    "Concat": lambda attributes, _: lambda *parts: torch.cat(parts, attributes["axis"]),
    "Identity": lambda *_: lambda x: x,
    **{name: lambda *_, function=function: function for name, function in _ARITHMETIC.items()},
}


def main():
    import onnxruntime

    model = onnx.load(sys.argv[1])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    arrays = [
        rng.standard_normal([size if isinstance(size, int) else 2 for size in value.shape]).astype(np.float32)
        for value in session.get_inputs()
    ]
    wanted = session.run(None, {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)})
    with torch.no_grad():
        found = Converted(model)(*map(torch.from_numpy, arrays))
    found = found if isinstance(found, tuple) else (found,)
    for name, mine, theirs in zip(session.get_outputs(), found, wanted, strict=True):
        print(f"{name.name}: shape {tuple(mine.shape)}, largest difference {np.abs(mine.numpy() - theirs).max():.2e}")


if __name__ == "__main__":
    main()
