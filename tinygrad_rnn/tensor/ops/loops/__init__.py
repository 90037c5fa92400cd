"""Loops over time: step by step, recorded once and repeated as one node, or in parallel."""

from .prefix import associative_scan
from .scan import scan

__all__ = ["associative_scan", "scan"]
