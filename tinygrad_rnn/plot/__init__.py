"""Plots (extra `plot`): each returns a matplotlib Figure, takes an `ax`, and shows in a notebook.

matplotlib is imported by the first plot. Lines differ in their dashes and markers, and heat maps in
lightness, so that no plot needs colour.
"""

from .canvas import check_file, families, panels, save
from .forecasts import calibration, fan
from .graphs import graph
from .grids import activations, attention, confusion, heat_map
from .lines import curves, gradient_flow, losses

__all__ = [
    "activations",
    "attention",
    "calibration",
    "check_file",
    "confusion",
    "curves",
    "families",
    "fan",
    "gradient_flow",
    "graph",
    "heat_map",
    "losses",
    "panels",
    "save",
]
