"""The lecture's tasks as programs on real data."""

from .charlm import CharLM, CharModel, Config, checked
from .sampling import SettingError, draw, probabilities
from .training import DivergedError, Progress, Training

__all__ = [
    "CharLM",
    "CharModel",
    "Config",
    "DivergedError",
    "Progress",
    "SettingError",
    "Training",
    "checked",
    "draw",
    "probabilities",
]
