"""The lecture's tasks as programs on real data."""

from .adding import SOLVED, Adding, AddingConfig
from .charlm import CharLM, CharLMConfig, CharModel
from .charlm_training import CharLMTraining, fitted
from .scores import ErrorRates, bleu_and_chrf, error_rates
from .settings import SettingError
from .tasks import TASKS
from .trainer import RecipeTrainer
from .translate import TranslateConfig, Translation, Translator
from .translation_training import TranslationTraining

__all__ = [
    "SOLVED",
    "TASKS",
    "Adding",
    "AddingConfig",
    "CharLM",
    "CharLMConfig",
    "CharLMTraining",
    "CharModel",
    "ErrorRates",
    "RecipeTrainer",
    "SettingError",
    "TranslateConfig",
    "Translation",
    "TranslationTraining",
    "Translator",
    "bleu_and_chrf",
    "error_rates",
    "fitted",
]
