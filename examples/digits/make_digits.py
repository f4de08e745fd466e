"""Train the small digits model that ships beside this script and write it with its calibration and validation data.

    pip install -e ".[torch]" scikit-learn -c constraints.txt
    python examples/digits/make_digits.py [--out FOLDER] [--epochs N]

The data are scikit-learn's bundled handwritten digits: 1,797 grey images of 8 x 8 pixels with values 0 to 16, here scaled to 0 to 1.
They are split once, by class and by a fixed seed, into training (1,097), calibration (300) and validation (400) images.

The model is a residual network of the usual parts, small enough to train in a minute on a CPU and wide enough for its pruned versions
to be measurably faster. It is trained with a penalty on the scales of BatchNormalization (network slimming, Liu et al. 2017), so that it
has channels to spare: a network trained without it does not stand the loss of a third of its channels unless it is trained again.
It is written as it would run in training, with its BatchNormalization nodes, so that there is something to fuse.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

SEED = 0
CALIBRATION, VALIDATION = 300, 400
INPUT, OUTPUT = "image", "logits"
SPARSITY = 0.01  # weight of the sum of |scale| in the loss
OPSET, IR_VERSION = 18, 10

Split = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Separable(nn.Module):
    """A depthwise 3 x 3 convolution and a pointwise one."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.depthwise(x)))
        return self.relu(self.bn2(self.pointwise(y)))


class DigitsNet(nn.Module):
    """[N, 1, 8, 8] pixels -> [N, 10] logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.block1 = Residual(64, 64)
        self.block2 = Residual(64, 96, stride=2)
        self.block3 = Separable(96, 128)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem_bn(self.stem(x)))
        x = self.block3(self.block2(self.block1(x)))
        logits: Tensor = self.head(self.dropout(self.flatten(self.pool(x))))
        return logits


def split_digits() -> tuple[Split, Split, Split]:
    """The training, calibration and validation images ([N, 1, 8, 8], 0 to 1) with their labels; no image is in two of them."""
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    x_rest, x_held, y_rest, y_held = train_test_split(
        images, labels, test_size=CALIBRATION + VALIDATION, stratify=labels, random_state=SEED
    )
    x_calib, x_valid, y_calib, y_valid = train_test_split(x_held, y_held, test_size=VALIDATION, stratify=y_held, random_state=SEED)
    return (x_rest, y_rest), (x_calib, y_calib), (x_valid, y_valid)


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images, each moved by up to one pixel in each direction (zeros come in at the border)."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    rows, columns = torch.randint(0, 3, (2, len(images)), generator=generator).tolist()
    return torch.stack([padded[i, :, r : r + 8, c : c + 8] for i, (r, c) in enumerate(zip(rows, columns, strict=True))])


def train(images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], epochs: int) -> DigitsNet:
    """A trained model in evaluation mode."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # so that the sums, and with them the model, do not depend on the machine's number of processors
    generator = torch.Generator().manual_seed(SEED)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    model, batch = DigitsNet(), 64
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    scales = [module.weight for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for epoch in range(epochs):
        model.train()
        losses = []
        order = torch.randperm(len(x), generator=generator)
        for picked in order[: len(order) // batch * batch].split(batch):
            loss = loss_of(model(shifted(x[picked], generator)), y[picked])
            loss = loss + SPARSITY * torch.stack([scale.abs().sum() for scale in scales]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1:2d}/{epochs}  loss {np.mean(losses):.4f}", flush=True)
    return model.eval()


class Writer:
    """An ONNX graph under construction; each method adds the nodes of one module and returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, op: str, name: str, *inputs: str, **attributes: int | list[int] | float) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name + "_out"], name=name, **attributes))
        return name + "_out"

    def weight(self, name: str, tensor: Tensor | None) -> str:
        if tensor is None:
            raise ValueError(f"{name} is missing")
        self.weights.append(numpy_helper.from_array(tensor.detach().numpy(), name))
        return name

    def conv(self, name: str, x: str, module: nn.Conv2d) -> str:
        side, stride, pad = module.kernel_size[0], module.stride[0], int(module.padding[0])
        weight = self.weight(f"{name}.weight", module.weight)
        return self.node(
            "Conv", name, x, weight, group=module.groups, kernel_shape=[side] * 2, strides=[stride] * 2, pads=[pad] * 4, dilations=[1, 1]
        )

    def norm(self, name: str, x: str, module: nn.BatchNorm2d) -> str:
        tensors = {"weight": module.weight, "bias": module.bias, "running_mean": module.running_mean, "running_var": module.running_var}
        return self.node(
            "BatchNormalization", name, x, *[self.weight(f"{name}.{key}", value) for key, value in tensors.items()], epsilon=module.eps
        )

    def residual(self, name: str, x: str, module: Residual) -> str:
        y = self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x, module.conv1), module.bn1)
        y = self.node("Relu", f"{name}.relu1", y)
        y = self.norm(f"{name}.bn2", self.conv(f"{name}.conv2", y, module.conv2), module.bn2)
        if isinstance(module.shortcut, nn.Sequential):
            conv, norm = module.shortcut
            x = self.norm(f"{name}.shortcut_bn", self.conv(f"{name}.shortcut", x, conv), norm)
        return self.node("Relu", f"{name}.relu2", self.node("Add", f"{name}.add", y, x))

    def separable(self, name: str, x: str, module: Separable) -> str:
        y = self.norm(f"{name}.bn1", self.conv(f"{name}.depthwise", x, module.depthwise), module.bn1)
        y = self.node("Relu", f"{name}.relu1", y)
        y = self.norm(f"{name}.bn2", self.conv(f"{name}.pointwise", y, module.pointwise), module.bn2)
        return self.node("Relu", f"{name}.relu2", y)


def export(model: DigitsNet, path: Path) -> None:
    """Write the model as ONNX, one node per module, with a free batch size.

    Written by hand, because torch's exporter folds BatchNormalization away, or, told to leave the graph as it is, surrounds every
    convolution with the arithmetic for a bias of zeros.
    """
    writer = Writer()
    x = writer.norm("stem.bn", writer.conv("stem.conv", INPUT, model.stem), model.stem_bn)
    x = writer.node("Relu", "stem.relu", x)
    x = writer.residual("block1", x, model.block1)
    x = writer.residual("block2", x, model.block2)
    x = writer.separable("block3", x, model.block3)
    x = writer.node("Flatten", "flatten", writer.node("GlobalAveragePool", "pool", x), axis=1)
    head = [writer.weight("head.weight", model.head.weight), writer.weight("head.bias", model.head.bias)]
    writer.node("Gemm", "head", x, *head, transB=1)
    writer.nodes[-1].output[0] = OUTPUT

    image = helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, ["batch", 1, 8, 8])
    logits = helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(writer.nodes, "digits", [image], [logits], writer.weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="make_digits.py")
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def check_export(model: DigitsNet, path: Path, images: npt.NDArray[np.float32]) -> None:
    """Stop if the written file does not compute what the trained model computes."""
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (written,) = session.run([OUTPUT], {INPUT: images})
    np.testing.assert_allclose(written, expected, rtol=1e-4, atol=1e-4)


def accuracy(path: Path, data: Split) -> float:
    """Share of the images that the written file, run by ONNX Runtime, classifies as labelled."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run([OUTPUT], {INPUT: data[0]})
    return float((logits.argmax(axis=1) == data[1]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to (default: beside this script)")
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    training, calibration, validation = split_digits()
    model = train(*training, epochs=arguments.epochs)
    export(model, out / "digits.onnx")
    for name, (images, labels) in {"calibration": calibration, "validation": validation}.items():
        np.savez_compressed(out / f"{name}.npz", **{INPUT: images, "labels": labels})
    check_export(model, out / "digits.onnx", validation[0])
    for name, data in {"training": training, "calibration": calibration, "validation": validation}.items():
        print(f"accuracy on {len(data[1])} {name} images: {accuracy(out / 'digits.onnx', data):.4f}")


if __name__ == "__main__":
    main()
