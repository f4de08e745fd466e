"""Pooling, resampling and quantization."""

from __future__ import annotations

import numpy as np

from tests.channels.cases import K, case, x

CASES = [
    case("AveragePool", x(2, 3, 4, 4), kernel_shape=[2, 2], flows="eeff"),
    case("AveragePool", x(2, 3, 4, 4), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1, flows="eeff"),
    case("MaxPool", x(2, 3, 4, 4), kernel_shape=[2, 2], strides=[2, 2], flows="eeff"),
    case("MaxPool", x(2, 3, 4, 4), kernel_shape=[2, 2], outputs=2, flows="ffff"),
    case("LpPool", x(2, 3, 4, 4), kernel_shape=[2, 2], p=2, flows="eeff"),
    case("GlobalAveragePool", x(2, 3, 4, 4), flows="eeff"),
    case("GlobalMaxPool", x(2, 3, 4), flows="eef"),
    case("GlobalLpPool", x(2, 3, 4, 4), p=2, flows="eeff"),
    case("Resize", x(1, 3, 4, 4), None, K([1.0, 1.0, 2.0, 2.0], np.float32), flows="-eff"),
    case("Resize", x(1, 3, 4, 4), None, None, K([1, 3, 8, 6]), mode="linear", flows="-eff"),
    case("Resize", x(1, 3, 4, 4), None, None, K([8, 6]), axes=[2, 3], mode="cubic", flows="-eff"),
    case("Resize", x(1, 3, 4, 4), None, K([2.0, 2.0], np.float32), axes=[-1, -2], flows="-eff"),
    case("Resize", x(1, 3, 4, 4), None, K([1.0, 2.0, 1.0, 1.0], np.float32), flows="-fff"),
    case("Resize", x(1, 3, 4, 4), None, None, K([1, 3, 4, 4]), flows="-eff"),
    case("Resize", x(1, 3, 4, 4), K([1.0, 1.0, 2.0, 2.0], np.float32), opset=10, flows="-eff"),
    case(
        "Resize",
        x(1, 3, 4, 4),
        K([0, 0, 0, 0, 1, 1, 2, 2], np.float32),
        None,
        K([1, 3, 4, 4]),
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=0.5,
        flows="-eff",
    ),
    case("Upsample", x(1, 3, 4, 4), K([1.0, 1.0, 2.0, 2.0], np.float32), opset=9, flows="-eff"),
    case("Upsample", x(1, 3, 4, 4), opset=7, scales=[1.0, 1.0, 2.0, 2.0], flows="-eff"),
    case("GridSample", x(1, 3, 4, 4), x(1, 2, 2, 2, contents=[[[[0.1, 0.2], [0.3, 0.4]], [[-0.1, 0.2], [0.5, -0.6]]]]), flows="-eff -fff"),
    case("GridSample", x(1, 3, 4, 5), K(np.full((1, 2, 6, 2), 0.1), np.float32), flows="-eff"),
    case("RoiAlign", x(1, 3, 4, 4), K([[0, 0, 3, 3], [1, 1, 2, 2]], np.float32), K([0, 0]), output_height=2, output_width=2, flows="-eff"),
    case(
        "RoiAlign",
        x(1, 3, 4, 4),
        x(2, 4, contents=[[0, 0, 3, 3], [1, 1, 2, 2]]),
        K([0, 0]),
        output_height=2,
        output_width=2,
        flows="-eff ff",
    ),
    case("MaxRoiPool", x(1, 3, 4, 4), K([[0, 0, 0, 3, 3], [0, 1, 1, 2, 2]], np.float32), pooled_shape=[2, 2], flows="-eff"),
    case("QuantizeLinear", x(2, 3, 4), x(1, positive=True), K(0, np.int8), flows="eee -"),
    case("QuantizeLinear", x(2, 3, 4), K(0.01, np.float32), K(3, np.uint8), flows="eee", sums="iii"),
    case("QuantizeLinear", x(2, 3, 4), x(3, positive=True), K([0, 0, 0], np.int8), axis=1, flows="eee e", sums="iii i"),
    case("QuantizeLinear", x(2, 3, 4), x(4, positive=True), K([1, 2, 3, 4], np.uint8), axis=-1, flows="eee e", sums="iii i"),
    case("QuantizeLinear", x(2, 3, 4), x(3, positive=True), flows="eee e", sums="iii i"),
    case("QuantizeLinear", x(2, 4), x(2, 2, positive=True), K([[0, 0], [0, 0]], np.int8), axis=1, block_size=2, flows="ff ff"),
    case("DequantizeLinear", x(2, 3, contents=[[1, 2, 3], [4, 5, 6]], dtype=np.int8), K(0.1, np.float32), K(0, np.int8), flows="ee"),
    case("DequantizeLinear", x(2, 3, contents=[[1, 2, 3], [4, 5, 6]], dtype=np.uint8), K(0.1, np.float32), K(2, np.uint8), flows="ee"),
    case(
        "DequantizeLinear",
        x(2, 3, contents=[[1, 2, 3], [4, 5, 6]], dtype=np.int8),
        x(3, positive=True),
        K([0, 0, 0], np.int8),
        axis=1,
        flows="ee e",
    ),
    case("DequantizeLinear", x(2, 3, contents=[[1, 2, 3], [4, 5, 6]], dtype=np.int8), x(2, positive=True), None, axis=0, flows="ee e"),
    case("DequantizeLinear", x(2, 3, 4, dtype=np.int8), x(3, positive=True), flows="eee e"),
]
