"""Makes ONNX models faster for a device.

    graph = graphopt.load("model.onnx")
    run = graphopt.run(graph, "fuse-bn,prune-channels{ratio=0.3}")
    graphopt.save(run.graph, "smaller.onnx")

`optimize` searches for the pipeline by itself, `predict` tells the latency on a target, `Pass` is what passes of your own derive from.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

# Names are loaded when they are asked for: a process that measures should be ready soon, and so should the command line.
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
