"""Loops over time: step by step, traced once and compiled into one node, or in parallel."""

from ..errors import public as _public
from .associative import associative_scan as _associative_scan
from .linear import linear_recurrence
from .scan import scan as _scan

__all__ = ["associative_scan", "linear_recurrence", "scan"]

associative_scan = _public(_associative_scan)
scan = _public(_scan)
