"""The lecture's tasks as programs on real data."""

from .caption import Caption
from .charlm import CharLM, CharLMConfig, CharModel
from .charlm_training import CharLMTraining, fitted
from .classify import Classify
from .forecast import Forecast
from .gates import GatesConfig
from .letters import TASKS
from .memory import Memory, MemoryConfig
from .parallel import ParallelConfig
from .scores import bleu_and_chrf
from .settings import SettingError
from .speech import Speech
from .tag import Tag
from .task import Task
from .trainer import RecipeTrainer
from .translate import TranslateConfig
from .translation_training import TranslationTraining
from .translator import Translation, Translator
from .wordlm import WordLM

TASKS_BY_NAME: dict[str, type[Task]] = {
    task.recipe: task for task in (Classify, Tag, Caption, Forecast, Speech, WordLM)
}

__all__ = [
    "TASKS",
    "TASKS_BY_NAME",
    "Caption",
    "CharLM",
    "CharLMConfig",
    "CharLMTraining",
    "CharModel",
    "Classify",
    "Forecast",
    "GatesConfig",
    "Memory",
    "MemoryConfig",
    "ParallelConfig",
    "RecipeTrainer",
    "SettingError",
    "Speech",
    "Tag",
    "Task",
    "TranslateConfig",
    "Translation",
    "TranslationTraining",
    "Translator",
    "WordLM",
    "bleu_and_chrf",
    "fitted",
]
