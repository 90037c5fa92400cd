"""The lecture's tasks as programs on real data."""

from .charlm import CharLM, CharModel, Config, checked
from .run import DivergedError, Progress, Run
from .sampling import SettingError, draw, probabilities
from .training import Training

__all__ = [
    "CharLM",
    "CharModel",
    "Config",
    "DivergedError",
    "Progress",
    "Run",
    "SettingError",
    "Training",
    "checked",
    "draw",
    "probabilities",
]
