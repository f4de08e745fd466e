"""Supernets: extracting the subnet of a configuration from an elastic network, on the graph alone."""

from graphopt.supernet.config import Config, load_config, parse_config
from graphopt.supernet.draft import Draft, draft_supernet, to_document
from graphopt.supernet.extract import Extraction, extract, load_supernet, transforms_beside
from graphopt.supernet.family import Block, Layer, Stage, StemConv, Supernet, parse_family
from graphopt.supernet.generic import ElasticGraph, parse_generic
from graphopt.supernet.recalibrate import recalibrate
from graphopt.supernet.schemas import schema
from graphopt.supernet.score import SubnetScores
from graphopt.supernet.sites import space_of, usual_sizes
from graphopt.supernet.space import Rows, Site, Space
from graphopt.supernet.transforms import Transforms, load_transforms

__all__ = [
    "Block",
    "Config",
    "Draft",
    "ElasticGraph",
    "Extraction",
    "Layer",
    "Rows",
    "Site",
    "Space",
    "Stage",
    "StemConv",
    "SubnetScores",
    "Supernet",
    "Transforms",
    "draft_supernet",
    "extract",
    "load_config",
    "load_supernet",
    "load_transforms",
    "parse_config",
    "parse_family",
    "parse_generic",
    "recalibrate",
    "schema",
    "space_of",
    "to_document",
    "transforms_beside",
    "usual_sizes",
]
