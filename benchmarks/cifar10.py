"""A ResNet-20 trained on CIFAR-10, and the data files that the benchmarks take: what the tables of accuracy are made with.

    python benchmarks/cifar10.py OUT --cifar FOLDER [--epochs 60] [--threads 2] [--bfloat16]

FOLDER holds `load.py` with `cifar10(split)`, uint8 pictures [n, 32, 32, 3] and labels. Writes OUT/resnet20.onnx (input [n, 3, 32, 32],
normalised by channel) with calibration.npz and test.npz for it, and the same for models that take pictures as they are, [n, 3, 32, 32]
from 0 to 255 (MLPerf Tiny's ResNet-8), in OUT/raw. The calibration part is the last 5,000 training pictures, which are not trained on. Prints the
accuracy on the test part. The network is that of He et al., "Deep Residual Learning" (2016), section 4.2, with 1x1 convolutions in the
shortcuts; 60 epochs with one cycle of the learning rate are a short schedule: the paper's 182 reach 91.25 %. `--bfloat16` multiplies in that
type (weights and export stay float32): two and a half times as fast where the processor has instructions for it, slower where it has none.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

MEAN, STD = np.array([0.4914, 0.4822, 0.4465], np.float32), np.array([0.2470, 0.2435, 0.2616], np.float32)
HELD_OUT = 5_000
BATCH = 128


class Block(nn.Module):
    def __init__(self, wide_in: int, wide: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, wide, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        changes = stride != 1 or wide_in != wide
        self.shortcut = nn.Sequential(nn.Conv2d(wide_in, wide, 1, stride, bias=False), nn.BatchNorm2d(wide)) if changes else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet20() -> nn.Module:
    blocks = [Block(i, o, s) for i, o, s in [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def normalised(pictures: np.ndarray) -> np.ndarray:
    return ((pictures.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2).copy()


def augmented(x: torch.Tensor) -> torch.Tensor:
    """Each picture of the batch mirrored or not, and moved by up to 4 pixels."""
    n = len(x)
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.5, x.flip(3), x)
    padded = functional.pad(x, (4, 4, 4, 4))
    rows = torch.randint(0, 9, (n, 1)) + torch.arange(32)
    columns = torch.randint(0, 9, (n, 1)) + torch.arange(32)
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, bfloat16: bool) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=epochs * steps, pct_start=0.3)
    for epoch in range(epochs):
        started, losses = time.perf_counter(), 0.0
        order = torch.randperm(len(x))
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = functional.cross_entropy(model(augmented(x[chosen])), y[chosen])
            loss.backward()
            optimizer.step()
            schedule.step()
            losses += loss.item()
        print(f"epoch {epoch + 1} of {epochs}: loss {losses / steps:.3f}, {time.perf_counter() - started:.0f} s", flush=True)


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    with torch.no_grad():
        right = sum(int((model(part).argmax(1) == labels).sum()) for part, labels in zip(x.split(500), y.split(500), strict=True))
    return right / len(x)


def loaded(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("cifar10_files", folder / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.cifar10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    cifar10 = loaded(arguments.cifar)
    (pictures, labels), (tested, truth) = cifar10("train"), cifar10("test")
    labels, truth = labels.astype(np.int64), truth.astype(np.int64)
    raw = arguments.out / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    parts = {"calibration": (pictures[-HELD_OUT:], labels[-HELD_OUT:]), "test": (tested, truth)}
    for name, (some, of) in parts.items():
        np.savez(arguments.out / f"{name}.npz", input=normalised(some), labels=of)
        np.savez(raw / f"{name}.npz", input_1=some.astype(np.float32).transpose(0, 3, 1, 2).copy(), labels=of)
    model = resnet20()
    trained_on = torch.from_numpy(normalised(pictures[:-HELD_OUT])), torch.from_numpy(labels[:-HELD_OUT])
    train(model, *trained_on, arguments.epochs, arguments.bfloat16)
    print(f"accuracy on the test part: {accuracy(model, torch.from_numpy(normalised(tested)), torch.from_numpy(truth)):.4f}")
    batch = torch.export.Dim("n")
    torch.onnx.export(
        model,
        (torch.zeros(2, 3, 32, 32),),
        arguments.out / "resnet20.onnx",
        input_names=["input"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


if __name__ == "__main__":
    main()
