"""Baselines for texts that count words and ignore their order: Naive Bayes, logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import needs
from .settings import SettingError

Words = Sequence[str]


class NaiveBayes:
    """Multinomial Naive Bayes with add-one smoothing (Manning et al. 2008, section 13.2).

        log P(label | words) = log P(label) + sum_i log P(word_i | label) + constant

    **Arguments** texts: lists of words. labels: one for each, from 0 up.

    >>> bayes = NaiveBayes([["good", "film"], ["bad", "film"], ["bad"]], [1, 0, 0])
    >>> bayes.predict([["good"], ["a", "bad", "one"]])
    array([1, 0])
    """

    def __init__(self, texts: Sequence[Words], labels: Sequence[int]) -> None:
        self.places = {w: i for i, w in enumerate(dict.fromkeys(w for t in texts for w in t))}
        totals = np.bincount(labels)
        counts = np.ones((len(self.places), len(totals)))
        for text, label in zip(texts, labels, strict=True):
            for word in text:
                counts[self.places[word], label] += 1
        self.log_prior = np.log(np.maximum(totals, 1e-9) / totals.sum())
        self.log_likelihood = np.log(counts / counts.sum(axis=0))

    def predict(self, texts: Sequence[Words]) -> NDArray[np.int64]:
        """Returns the most probable label of each text; unknown words say nothing."""
        scores = []
        for text in texts:
            known = [self.places[word] for word in text if word in self.places]
            scores.append(self.log_prior + self.log_likelihood[known].sum(axis=0))
        found: NDArray[np.int64] = np.argmax(scores, axis=1)
        return found


def logistic_regression(
    texts: Sequence[Words], labels: Sequence[int], test: Sequence[Words]
) -> NDArray[np.int64]:
    """Predicts by logistic regression on words and pairs of words, weighted by tf-idf.

    **Returns** the labels of the test's texts. **Raises** SettingError without scikit-learn.
    """
    install = "pip install 'tinygrad_rnn[baselines]'"
    with needs("scikit-learn", "logistic regression", install, SettingError):
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

    def grams(text: Words) -> list[str]:
        return [*text, *(f"{a} {b}" for a, b in pairwise(text))]

    features = TfidfVectorizer(analyzer=grams, sublinear_tf=True)
    model = LogisticRegression(C=10, max_iter=1000)
    model.fit(features.fit_transform(texts), labels)
    found: NDArray[np.int64] = model.predict(features.transform(test))
    return found
