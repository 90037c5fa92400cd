"""The lecture's tasks as programs on real data."""

from .adding import SOLVED, Adding, AddingConfig
from .charlm import CharLM, CharModel, Config, checked
from .divergence import DivergedError
from .run import Progress, Run, SettingError
from .scores import ErrorRates, bleu_and_chrf, error_rates
from .tasks import TASKS
from .training import Training
from .translate import TranslateConfig, Translation, Translator
from .translation_training import TranslationTraining

__all__ = [
    "SOLVED",
    "TASKS",
    "Adding",
    "AddingConfig",
    "CharLM",
    "CharModel",
    "Config",
    "DivergedError",
    "ErrorRates",
    "Progress",
    "Run",
    "SettingError",
    "Training",
    "TranslateConfig",
    "Translation",
    "TranslationTraining",
    "Translator",
    "bleu_and_chrf",
    "checked",
    "error_rates",
]
