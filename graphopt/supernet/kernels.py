"""Smaller kernels of a convolution, the same for all kinds of supernets."""

from __future__ import annotations

from graphopt.supernet.config import Config
from graphopt.supernet.document import listed
from graphopt.supernet.edits import Edit, Kernel, Pads
from graphopt.supernet.places import Conv, Places
from graphopt.supernet.transforms import Transforms, steps


def kernel_edits(
    places: Places,
    config: Config,
    key: str,
    wanted: float | None,
    conv: Conv,
    offered: tuple[int, ...],
    where: str,
    transforms: Transforms | None,
    named: str | None,
) -> list[Edit]:
    """The edits that make the kernel of `conv` in `where` the size `wanted`, which `config` has under `key`, out of the sizes `offered`.

    `named` is the file of transforms that the side file names. Raises SupernetError where the size is not on offer, or a transform is missing.
    """
    largest = conv.shape[2]
    if wanted is None or wanted == largest:
        return []
    sizes = tuple(size for size in offered if size <= largest)
    if largest not in sizes:
        raise places.error(f"{where}: its kernel size {largest} is not among kernel_sizes {listed(offered)}")
    if wanted not in sizes:
        raise config.error(f"{key} is {wanted:g}, and {where} has the kernel sizes {listed(sizes)}")
    if transforms is None and named is not None:
        raise config.error(
            f"{key} is {wanted:g}, which needs the kernel transforms {named!r} that {places.source} names; give them with --transforms, or put "
            "the file beside it"
        )
    size = int(wanted)
    matrices = () if transforms is None else transforms.chain(conv.weight, steps(sizes, size))
    return [Kernel(conv.node, sizes, size, matrices), Pads(conv.node, size, (largest - size) // 2)]
