"""The lecture's tasks as programs on real data.

The files of each `train` command, in the order in which to read them:

    charlm      charlm, language_model, charlm_training, charlm_table
    wordlm      word_scorer, wordlm, kneser_ney
    translate   translate, translator, search, translation_training, translation_table, word_by_word
    verses, messages, phones, task    their data: verses, messages, phones, letters; and scores
    classify    classifier, classify, bag_of_words
    speech      recognizer, speech, dtw
    tag         tag_model, tagger, tag, spans
    caption     caption_model, captioner, caption, caption_table, caption_picture
    forecast    forecast_model, classical, forecast_distribution, forecaster, series, forecast,
                volatility, forecast_table
    memory      problems, sample, memory, explosion
    gates, parallel    gates, gates_table; parallel

What they share: settings, cells, trainer, resumable, saved, windows, task, predictor, labels,
bootstrap, comparison, picture; and for the commands that use a run: runs, look.
"""

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
