"""The lecture's tasks as programs on real data."""

from .charlm import CharLM, CharModel, Config, SettingError, checked
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
]
