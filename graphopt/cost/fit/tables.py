"""The published tables: which networks were measured on a device, how long they took, and how to build them again."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graphopt.cost.fit.recipes import Recipe, pip_recipe
from graphopt.errors import DataError

Row = dict[str, str]


@dataclass(frozen=True)
class Published:
    """A measured network: its name in the table (with the side of the picture where there are several), milliseconds, and the standard deviation of these."""

    name: str
    ms: float
    spread: float
    recipe: Recipe


def rows(data: Path, file: str) -> list[Row]:
    """The rows of a table. Raises DataError where it is missing."""
    try:
        with (data / file).open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    except OSError as error:
        raise DataError(f"the table {data / file} cannot be read: {error.strerror}") from error


def torch2trt(data: Path, device: str) -> Iterator[Published]:
    """TensorRT through torch2trt. Without the rows that only have a throughput: they are of an earlier run, which contradicts."""
    for row in rows(data, "torch2trt_jetson.csv"):
        if row["device"] == device and row["runtime"].startswith("tensorrt") and row["latency_ms"]:
            yield Published(row["model"], float(row["latency_ms"]), 0.0, Recipe("torchvision", row["model"], _side(row)))


def efficientvit(data: Path, device: str) -> Iterator[Published]:
    """TensorRT, the copies of data to and from the device included."""
    for row in rows(data, "efficientvit_jetson.csv"):
        recipe = pip_recipe(row["pip_equivalent"], _side(row))
        if row["device"] == device and row["runtime"] == "tensorrt" and recipe is not None and row["latency_ms"]:
            yield Published(f"{row['model']}@{_side(row)}", float(row["latency_ms"]), 0.0, recipe)


def mobile(data: Path, device: str, precision: str, cores: str) -> Iterator[Published]:
    """TensorFlow Lite on a phone: the convolutional networks, all of which pytorchcv builds."""
    for row in rows(data, "qed_tflite_e2e.csv"):
        if (row["kind"], row["device"], row["precision"], row["cores"]) == ("cnn", device, precision, cores):
            yield Published(
                row["model"], float(row["latency_ms"]), float(row["latency_std_ms"]), Recipe("pytorchcv", row["model"], _side(row))
            )


def mlperf(data: Path, device: str, precision: str) -> Iterator[Published]:
    """TensorFlow Lite with ruy on a board: the round of v2.1, one submitter. The quantised networks are the float graphs."""
    everything = [
        row for row in rows(data, "mlperf_v21_v30_edge.csv") if row["device"] == device and row["runtime"].startswith("TFLite v2.7")
    ]
    built = {_key(row): row["pip_equivalent"] for row in everything if row["pip_equivalent"]}
    for row in everything:
        recipe = pip_recipe(built.get(_key(row), ""), _side(row))
        if row["precision"] == precision and recipe is not None:
            width = "" if float(row["width_mult"]) == 1 else f"_{row['width_mult']}"
            ms = float(row["latency_ms"])
            spread = (float(row["latency_p90_ms"]) - float(row["latency_p50_ms"])) / 1.2816  # of a normal distribution
            yield Published(f"{row['model']}{width}@{_side(row)}", ms, max(0.0, spread), recipe)


def _key(row: Row) -> tuple[str, str, str]:
    return row["model"], row["width_mult"], row["resolution"]


def _side(row: Row) -> int:
    return int(row["resolution"].partition("x")[0])
