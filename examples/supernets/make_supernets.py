"""Makes the two elastic transformers of this folder, with random weights: `python make_supernets.py [--out DIR]`.

hat_encoder: an encoder in the manner of Hardware-Aware Transformers, elastic in width, feed-forward width, heads and layers.
matformer: gated feed-forward blocks in the manner of MatFormer, elastic in each block's hidden width, and any set of blocks may stay.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY, LENGTH = 40, 16
HAT = {"embed": 32, "qkv": 32, "heads": 4, "ffn": 64, "layers": 3}
MATFORMER = {"width": 16, "hidden": 48, "layers": 4}


class Network:
    """Nodes one after the other; each method adds some and returns the name of their output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray[Any, Any]] = {}
        self.rng = np.random.default_rng(0)

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [f"{name}/out"], name, **attributes))
        return f"{name}/out"

    def weight(self, name: str, *shape: int, centre: float = 0.0, scale: float | None = None) -> str:
        scale = 1 / np.sqrt(shape[0]) if scale is None else scale
        self.weights[name] = (self.rng.normal(size=shape) * scale + centre).astype(np.float32)
        return name

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.weights[name] = np.asarray(value, dtype)
        return name

    def linear(self, x: str, name: str, into: int, out: int) -> str:
        product = self.node("MatMul", name, x, self.weight(f"{name}.weight", into, out))
        return self.node("Add", f"{name}/bias", product, self.weight(f"{name}.bias", out, scale=0.1))

    def norm(self, x: str, name: str, width: int) -> str:
        scale, bias = self.weight(f"{name}.scale", width, centre=1, scale=0.1), self.weight(f"{name}.bias", width, scale=0.1)
        return self.node("LayerNormalization", name, x, scale, bias, axis=-1)

    def model(self, name: str, output: str, width: str) -> onnx.ModelProto:
        info = helper.make_tensor_value_info
        self.nodes.append(helper.make_node("Identity", [output], ["encoded"], "encoded"))
        graph = helper.make_graph(
            self.nodes,
            name,
            [info("tokens", TensorProto.INT64, ["batch", LENGTH])],
            [info("encoded", TensorProto.FLOAT, ["batch", LENGTH, width])],
            [numpy_helper.from_array(array, key) for key, array in self.weights.items()],
        )
        return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)], producer_name="make_supernets")


def slice_of(node: str, slot_of_node: int, axis: int, keep: str, slot: int | None = None) -> dict[str, Any]:
    edit = {"node": node, "input": slot_of_node, "axis": axis, "keep": keep}
    return edit if slot is None else edit | {"slot": slot}


def hat_encoder() -> tuple[onnx.ModelProto, dict[str, Any]]:
    net, width, edits, blocks = Network(), HAT["embed"], list[dict[str, Any]](), list[dict[str, Any]]()
    heads, head_dim = HAT["heads"], HAT["qkv"] // HAT["heads"]
    # One constant serves all layers, as in PyTorch's exports; extraction gives each reader its own.
    net.constant("split", [0, 0, heads, head_dim], np.int64)
    net.constant("merged", [0, 0, HAT["qkv"]], np.int64)
    net.constant("scale", head_dim**-0.5)
    x = net.node("Gather", "embedding", net.weight("embedding.weight", VOCABULARY, width, scale=width**-0.5), "tokens")
    x = net.node("Mul", "embedding/scaled", x, net.constant("embed_scale", width**0.5))
    angles = np.arange(LENGTH)[:, None] / 10000 ** (np.arange(width // 2) * 2 / width)
    x = net.node("Add", "positions", x, net.constant("positions.weight", np.concatenate([np.sin(angles), np.cos(angles)], axis=1)))
    edits += [slice_of("embedding", 0, 1, "embed"), {"node": "embedding/scaled", "input": 1, "scalar": "sqrt", "of": "embed"}]
    edits.append(slice_of("positions", 1, 1, "embed"))
    for layer in range(HAT["layers"]):
        name, start = f"layer{layer}", x
        parts = {}
        for part in "qkv":
            y = net.linear(x, f"{name}/{part}", width, HAT["qkv"])
            parts[part] = net.node(
                "Transpose", f"{name}/{part}/heads", net.node("Reshape", f"{name}/{part}/split", y, "split"), perm=[0, 2, 1, 3]
            )
            edits.append(slice_of(f"{name}/{part}", 1, 0, "embed"))
            sizes = {"2": "heads", "3": "head_dim"}
            edits.append({"node": f"{name}/{part}/split", "input": 1, "shape": sizes, "of": "heads", "slot": layer})
        q = net.node("Mul", f"{name}/q/scaled", parts["q"], "scale")
        edits.append({"node": f"{name}/q/scaled", "input": 1, "scalar": "rsqrt_head_dim", "of": "heads", "slot": layer})
        keys = net.node("Transpose", f"{name}/k/columns", parts["k"], perm=[0, 1, 3, 2])
        weights = net.node("Softmax", f"{name}/attention", net.node("MatMul", f"{name}/scores", q, keys), axis=-1)
        mixed = net.node("Transpose", f"{name}/rows", net.node("MatMul", f"{name}/mix", weights, parts["v"]), perm=[0, 2, 1, 3])
        y = net.linear(net.node("Reshape", f"{name}/merge", mixed, "merged"), f"{name}/out", HAT["qkv"], width)
        x = net.norm(net.node("Add", f"{name}/residual1", y, x), f"{name}/norm1", width)
        y = net.node("Relu", f"{name}/relu", net.linear(x, f"{name}/ffn1", width, HAT["ffn"]))
        y = net.linear(y, f"{name}/ffn2", HAT["ffn"], width)
        x = net.norm(net.node("Add", f"{name}/residual2", y, x), f"{name}/norm2", width)
        edits += [slice_of(f"{name}/out", 1, 1, "embed"), slice_of(f"{name}/out/bias", 1, 0, "embed")]
        edits += [slice_of(f"{name}/{norm}", place, 0, "embed") for norm in ("norm1", "norm2") for place in (1, 2)]
        edits += [slice_of(f"{name}/ffn1", 1, 0, "embed"), slice_of(f"{name}/ffn1", 1, 1, "ffn", layer)]
        edits += [slice_of(f"{name}/ffn1/bias", 1, 0, "ffn", layer), slice_of(f"{name}/ffn2", 1, 0, "ffn", layer)]
        edits += [slice_of(f"{name}/ffn2", 1, 1, "embed"), slice_of(f"{name}/ffn2/bias", 1, 0, "embed")]
        blocks.append({"slot": layer, "input": start, "output": x})
    sequences = [{"depth": "layers", "blocks": blocks}]
    choices = {"layers": [1, 2, 3], "embed": [16, 24, 32], "heads": [2, 4], "ffn": [32, 48, 64]}
    document = {"schema": "elastic-graph/1", "qkv": HAT["qkv"], "choices": choices, "edits": edits, "sequences": sequences}
    return net.model("hat_encoder", x, "embed"), document


def matformer() -> tuple[onnx.ModelProto, dict[str, Any]]:
    net, width, edits, blocks = Network(), MATFORMER["width"], list[dict[str, Any]](), list[dict[str, Any]]()
    x = net.node("Gather", "embedding", net.weight("embedding.weight", VOCABULARY, width, scale=1), "tokens")
    for layer in range(MATFORMER["layers"]):
        name, start = f"layer{layer}", x
        y = net.norm(x, f"{name}/norm", width)
        hidden = MATFORMER["hidden"]
        gate = net.node("MatMul", f"{name}/gate", y, net.weight(f"{name}/gate.weight", width, hidden))
        up = net.node("MatMul", f"{name}/up", y, net.weight(f"{name}/up.weight", width, hidden))
        gated = net.node("Mul", f"{name}/silu", gate, net.node("Sigmoid", f"{name}/sigmoid", gate))
        product = net.node("Mul", f"{name}/product", gated, up)
        down = net.node("MatMul", f"{name}/down", product, net.weight(f"{name}/down.weight", hidden, width))
        x = net.node("Add", f"{name}/residual", down, x)
        edits += [slice_of(f"{name}/gate", 1, 1, "ffn", layer), slice_of(f"{name}/up", 1, 1, "ffn", layer)]
        edits.append(slice_of(f"{name}/down", 1, 0, "ffn", layer))
        blocks.append({"slot": layer, "input": start, "output": x})
    sequences = [{"depth": "layers", "blocks": blocks}]
    choices = {"layers": [2, 3, 4], "ffn": [6, 12, 24, 48]}
    document = {"schema": "elastic-graph/1", "slots": "kept", "choices": choices, "edits": edits, "sequences": sequences}
    return net.model("matformer", x, "width"), document


CONFIGS = {
    "hat_encoder": {"embed": 24, "ffn": [48, 32], "heads": [2, 4], "layers": 2},
    "matformer": {"ffn": [32, 16, 24], "layers": [0, 1, 3]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().out
    for name, (model, document) in {"hat_encoder": hat_encoder(), "matformer": matformer()}.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
        (folder / f"{name}.supernet.json").write_text(json.dumps(document, indent=1) + "\n")
        (folder / f"{name}.config.json").write_text(json.dumps(CONFIGS[name]) + "\n")
        print(f"wrote {folder / name}.onnx, .supernet.json, .config.json")


if __name__ == "__main__":
    main()
