"""Bridges from PyTorch, which the extra `torch` brings: nothing else in graphopt imports it."""

from graphopt.torch.supernet import ExportedSupernet, export_supernet

__all__ = ["ExportedSupernet", "export_supernet"]
