"""Writes expected/*.json: what the published package `ofa` computes for configurations of the small supernets of families.py.

    python -m tests.supernet.make_expected        # from the repository's root; needs torch, and `pip install ofa`

The parameters are those of families.py; only the ResNet's stage widths are made smaller than the package's.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from .families import CLASSES, FAMILIES, RESNET_RATIOS, RESNET_WIDTHS, Parameters, shapes_of

COUNT = 14
FOLDER = Path(__file__).parent / "expected"


def module(family: str) -> Any:
    """The elastic module with the parameters of families.py."""
    import torch
    from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3, OFAProxylessNASNets, OFAResNets
    from ofa.imagenet_classification.networks import ResNets

    if family == "ofa_resnet":
        published, ResNets.STAGE_WIDTH_LIST = ResNets.STAGE_WIDTH_LIST, [2 * widths[-1] for widths in RESNET_WIDTHS]
        made = OFAResNets(
            CLASSES, dropout_rate=0, depth_list=[0, 1, 2], expand_ratio_list=list(RESNET_RATIOS), width_mult_list=[0.25, 0.4, 0.5]
        )
        ResNets.STAGE_WIDTH_LIST = published
    else:
        kind = OFAMobileNetV3 if family == "ofa_mbv3" else OFAProxylessNASNets
        made = kind(CLASSES, dropout_rate=0, width_mult=0.25, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4])
    parameters = Parameters(shapes_of(family))
    state = made.state_dict()
    unlike = {name for name in state if not name.endswith("num_batches_tracked")} ^ set(parameters)
    assert not unlike, unlike
    with torch.no_grad():
        for name, array in parameters.items():
            assert tuple(state[name].shape) == array.shape, name
            state[name].copy_(torch.from_numpy(array))
    return made.eval()


def configurations(family: str) -> list[dict[str, Any]]:
    """The largest, the smallest, and random ones; two of them sorted, several at other resolutions."""
    rng = random.Random(family)
    made: list[dict[str, Any]] = [{}]
    made.append({"d": 0, "e": 0.2, "w": 0} if family == "ofa_resnet" else {"ks": 3, "e": 3, "d": 2})
    while len(made) < COUNT:
        if family == "ofa_resnet":
            config = {
                "d": [rng.choice([0, 2]), *(rng.choice([0, 1, 2]) for _ in range(4))],
                "e": [rng.choice(RESNET_RATIOS) for _ in range(18)],
                "w": [rng.choice([0, 1, 2]) for _ in range(6)],
            }
        else:
            slots, stages = (20, 5) if family == "ofa_mbv3" else (21, 6)
            config = {
                "ks": [rng.choice([3, 5, 7]) for _ in range(slots)],
                "e": [rng.choice([3, 4, 6]) for _ in range(slots)],
                "d": [rng.choice([2, 3, 4]) for _ in range(stages)],
            }
        config["image_size"] = rng.choice([48, 64, 72, 80])
        if len(made) in (5, 9):
            config["sort_channels"] = "l1"
        made.append(config)
    return made


def image(size: int) -> Any:
    return np.random.default_rng(size).normal(size=(2, 3, size, size)).astype(np.float32)


def main() -> None:
    import torch

    for family in FAMILIES:
        cases = []
        for config in configurations(family):
            elastic = module(family)
            if config.get("sort_channels"):
                elastic.re_organize_middle_weights()
            elastic.set_max_net()
            elastic.set_active_subnet(**{key: value for key, value in config.items() if key in ("ks", "e", "d", "w")})
            subnet = elastic.get_active_subnet().eval()
            with torch.no_grad():
                outputs = subnet(torch.from_numpy(image(config.get("image_size", 64)))).numpy()
            parameters = sum(parameter.numel() for parameter in subnet.parameters())
            cases.append({"config": config, "outputs": [[float(f"{x:.6g}") for x in row] for row in outputs], "parameters": parameters})
        text = ",\n".join(json.dumps(case) for case in cases)
        (FOLDER / f"{family}.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
