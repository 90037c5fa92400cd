"""The command `tinygrad-rnn`."""

from .app import main

__all__ = ["main"]
