"""Data parallel training: several processes (ranks) divide each batch and share their gradients."""

from .communication import Communicator, communicator
from .gradients import average_gradients, broadcast_parameters

__all__ = ["Communicator", "average_gradients", "broadcast_parameters", "communicator"]
