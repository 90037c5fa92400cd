"""Tasks with baselines: one command for users' own files, a table, exact resuming, clear errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.data.words import words
from tinygrad_rnn.io import load_checkpoint
from tinygrad_rnn.recipes import TASKS_BY_NAME
from tinygrad_rnn.recipes.word_scorer import WordScorer
from tinygrad_rnn.tensor.random import Generator

from .commands import Run, predictions, table

GOOD, BAD = ["good", "fine", "lovely", "great"], ["bad", "dull", "awful", "poor"]


def reviews(count: int) -> list[tuple[str, str]]:
    """Sentences; `not` turns the meaning around, which no bag of words sees."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        good, negated = rng.integers(0, 2, 2)
        word = (GOOD if good else BAD)[rng.integers(4)]
        text = f"it is {'not ' if negated else 'very '}{word} film number {rng.integers(9)}"
        rows.append((text, "yes" if good ^ negated else "no"))
    return rows


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "".join(f'"{text}",{y}\n' for text, y in reviews(400)))
    return path


SMALL = ["--hidden-size", "12", "--embedding-dim", "12", "--dropout", "0.1", "--lr", "0.01"]


def test_classify_learns_what_a_bag_of_words_cannot(run: Run, texts: Path, tmp_path: Path) -> None:
    said = run(
        "train",
        "classify",
        "--data",
        "own.csv",
        *SMALL,
        "--epochs",
        "10",
        "--batch-size",
        "8",
        "--out",
        "run",
    )
    rows = {line.split("│")[1].strip(): line for line in said.splitlines() if "│" in line}
    assert set(rows) >= {"majority", "Naive Bayes", "lstm"}
    figures = table(said, 2)
    assert figures["lstm"] > 90 > 75 > figures["Naive Bayes"]
    low = float(rows["majority"].split("│")[3].split("%")[0])
    assert low > 0  # the trivial baseline is beaten beyond doubt

    shown = run("predict", "run", typed="it is not bad\n\nit is not good\n")
    assert [line.split()[0] for line in shown.splitlines()] == ["yes", "no"]
    records = predictions("own.csv", "run")
    assert len(records) == 400
    assert np.mean([r["label"] == y for r, (_, y) in zip(records, reviews(400), strict=True)]) > 0.9
    assert [word for word, _ in records[0]["words"]] == reviews(1)[0][0].split()
    assert sum(records[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_contributions_are_the_gradients_times_the_inputs(run: Run, texts: Path) -> None:
    """Words whose vectors shrink a little change the log-odds as their contributions say."""
    run("train", "classify", "--data", "own.csv", *SMALL, "--epochs", "1", "--out", "run")
    task = TASKS_BY_NAME["classify"]
    predictor: Any = task.predictor.from_state(load_checkpoint("run"))
    text, small = "it is not a lovely film", 1e-2

    def odds() -> tuple[str, float]:
        [record] = predictor.predict([text])
        log_p = predictor.log_probs([text])[0]
        best = predictor.labels.index(record["label"])
        return record, log_p[best] - log_p[1 - best]

    record, before = odds()
    at = predictor.index.places["lovely"]
    for embedding in (predictor.model.embedding, predictor.model.single):
        embedding.weight.data[at] *= 1 + small
    share = dict(map(tuple, record["words"]))["lovely"]
    assert (odds()[1] - before) / small == pytest.approx(share, rel=0.05, abs=2e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,b,x\n", "own.csv: row 2 has 3 fields, but the header has 2"),
        ("words,label\na,x\n", "own.csv: no column 'text': it has 'words', 'label'"),
        ("text,label\na,x\nb,\n", "own.csv: row 3, column 'label': missing value"),
        ("text,label\na,x\nb,x\n", "own.csv: row 2, column 'label': every row has the label 'x'"),
        ("text,label\na,x\n\nb,y\n", "own.csv: row 3 is empty: remove it"),
        ("text,label\na,x\nb,y\n", "2 items are too few"),
        ("text,label\na\xe9,x\n", "own.csv is not UTF-8: byte 0xE9"),
        ("text,label\na\xe9,x\n", "in line 2: save it as UTF-8, or convert it"),
        ("PK\x03\x04\xff", "it looks like a spreadsheet or an archive: export it as CSV"),
        ("", "error: /"),
    ],
)
def test_files_that_cannot_be_learnt_from(run: Run, content: str, message: str) -> None:
    Path("own.csv").write_bytes(content.encode("latin-1"))
    said = run("train", "classify", "--data", "own.csv", "--out", "run", status=2)
    assert message in said
    assert "got path=" not in said


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text": "a \\ud83d", "label": "x"}', "row 2, column 'text': half a letter"),
        ('{"text": "a", "label": "\\udc4f"}', "row 2, column 'label': half a letter"),
        ('{"text": "a", "label": 1}', "row 2, column 'label': mixed types: 1 is no str"),
        ('{"text": "a", "label": null}', "row 2, column 'label': missing value"),
        ('{"text": "a", "label": ' + "9" * 5000 + "}", "row 2 is not JSON (too many digits)"),
        ('{"text": ' + "[" * 100_000 + "}", "row 2 is not JSON (nested too deeply)"),
    ],
)
def test_json_lines_that_cannot_be_learnt_from(run: Run, row: str, message: str) -> None:
    Path("own.jsonl").write_text('{"text": "a \\ud83d\\ude00", "label": "x"}\n' + row + "\n")
    assert message in run("train", "classify", "--data", "own.jsonl", "--out", "run", status=2)


@pytest.mark.parametrize("task", TASKS_BY_NAME)
def test_a_copy_of_the_training_data_is_no_test(run: Run, task: str) -> None:
    for name in ("a", "b", "c"):
        Path(name).write_text("the same" if name < "c" else "what is other")
    typed = ["train", task, "--out", "run", "--data", "a", "--data"]
    said = run(*typed, "b", status=2)
    assert re.search(
        r"--data names /\S*/a and /\S*/b, which are the same: the model would be", said
    )
    Path("link").symlink_to("a")
    assert re.search(r"--data names /\S*/a twice: the model would", run(*typed, "link", status=2))
    assert "the model would be tested" not in run(*typed, "c", status=2)


@pytest.mark.parametrize(
    "typed",
    [
        *(f"{task} --data -" for task in TASKS_BY_NAME),
        *("charlm --text -", "translate --source - --target a", "translate --source a --target -"),
    ],
)
def test_training_data_are_no_standard_input(run: Run, typed: str) -> None:
    """A run that resumes reads them again."""
    Path("a").write_text("a\nb\n")
    said = run("train", *typed.split(), "--out", "run", status=2)
    assert "- is the standard input, which a run that resumes cannot read again: save it" in said


def test_labels_may_be_unsure(run: Run) -> None:
    """A label's target is its confidence; the other labels share the rest."""
    rows = [f"text {i},{'abc'[i % 3]},{0.5 + i / 80}" for i in range(40)]
    Path("own.csv").write_text("\n".join(["text,label,sure", *rows]))
    task: Any = TASKS_BY_NAME["classify"]
    config = task.settings(confidence="sure", hidden_size=4, embedding_dim=4)
    parts = task.read(["own.csv"], config)
    training = task(parts, config)
    for (_, target), (_, label, sure) in zip(training.data.dataset, parts.training, strict=True):
        expected = [sure if name == label else (1 - sure) / 2 for name in "abc"]
        np.testing.assert_allclose(target, expected, rtol=1e-6)
    Path("own.csv").write_text("text,label,sure\na,x,1\nb,y,1.5\n")
    unsure = ["--data", "own.csv", "--confidence", "sure"]
    said = run("train", "classify", *unsure, "--out", "x", status=2)
    assert "own.csv: row 3, column 'sure': expected 0 to 1, got 1.5" in said


def test_training_test_and_unknown_labels(run: Run, texts: Path) -> None:
    header, *rows = texts.read_text().splitlines()
    Path("test.csv").write_text("\n".join([header, *reversed(rows)]))
    small = [*SMALL, "--epochs", "1", "--limit", "40"]
    said = run("train", "classify", "--data", "own.csv", "--data", "test.csv", *small, "--out", "a")
    assert "36 to learn from, 4 for validation, 40 for the test" in said
    Path("test.csv").write_text("text,label\na,maybe\nb,no\n")
    same = ["--data", "own.csv", "--data", "./own.csv"]
    said = run("train", "classify", *same, *small, "--out", "b", status=2)
    assert "own.csv twice: the model would be tested with what it has learnt from" in said
    two = ["--data", "own.csv", "--data", "test.csv"]
    said = run("train", "classify", *two, *small, "--out", "b", status=2)
    assert "test.csv: row 2, column 'label': the first file has no label 'maybe'" in said


def test_data_lists_every_set(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_DATA", str(tmp_path))
    said = run("data")
    assert "movies (classify): movie sentences with their ratings; licence: MIT" in said
    assert (
        f"not installed: pip download --no-deps --no-binary vaderSentiment --dest {tmp_path}"
        in said
    )
    status = run("train", "classify", "--out", "run", status=2)
    assert "movie sentences with their ratings are not installed; install them by `pip" in status


# ---------------------------------------------------------------- tag

TAGGING = [
    "--hidden-size",
    "16",
    "--embedding-dim",
    "12",
    "--letter-dim",
    "6",
    "--lr",
    "0.02",
    "--dropout",
    "0.2",
]


def test_both_directions_know_the_bank(run: Run) -> None:
    """The words that tell the two banks apart follow: a model in one direction has to guess."""
    said = run(
        "train",
        "tag",
        "--example",
        "bank",
        "--cell",
        "gru",
        *TAGGING,
        "--epochs",
        "6",
        "--out",
        "run",
    )
    f1 = table(said, 4)
    assert f1["gru, both ways"] == 100
    assert f1["gru, one way"] < 75
    assert f1["most frequent tag"] < 75
    typed = "I went to the bank to withdraw cash\nI went to the bank of the river\n"
    shown = run("predict", "run", typed=typed).splitlines()
    assert "bank/MONEY" in shown[0]
    assert "bank/RIVER" in shown[1]


def test_entities_of_a_conll_file(run: Run) -> None:
    """The kind of a name is known by its title, and its end by its letters."""
    rng = np.random.default_rng(1)
    sentences = []
    for _ in range(160):
        kind = ["PER", "LOC"][rng.integers(2)]
        title = "Mister" if kind == "PER" else "near"
        names = [
            "".join(map(chr, rng.integers(97, 123, 4))).title() for _ in range(rng.integers(1, 4))
        ]
        rows = [f"{title} X O", *(f"{n} X {'I' if i else 'B'}-{kind}" for i, n in enumerate(names))]
        sentences.append("\n".join(["then X O", *rows, "left X O"]))
    Path("names.conll").write_text("\n\n".join(sentences))
    small = [*TAGGING, "--epochs", "14", "--no-bidirectional"]
    said = run("train", "tag", "--data", "names.conll", *small, "--out", "run")
    assert "entity F1" in said
    f1 = table(said, 4)
    assert f1["lstm"] > 90 > f1["most frequent tag"]
    [record] = run("predict", "run", "--json", typed="then near Paris France left\n").splitlines()
    assert json.loads(record) == {
        "words": ["then", "near", "Paris", "France", "left"],
        "tags": ["O", "O", "B-LOC", "I-LOC", "O"],
    }
    Path("new.conll").write_text("then X O\nMister X O\nBond X O\nleft X O\n")
    typed = run("predict", "run", typed="then Mister Bond left\n")
    assert run("predict", "run", "new.conll") == typed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a X\nb\n", "own.conll: row 2 has 1 column; expected 2"),
        ("a X\n\nb X\n\nc X\n\nd X\n", "every word has the tag 'X'"),
        ("a X\n", "1 items are too few"),
        ("a \xe9\n", "own.conll is not UTF-8"),
    ],
)
def test_files_without_tags_to_learn(run: Run, content: str, message: str) -> None:
    Path("own.conll").write_bytes(content.encode("latin-1"))
    said = run("train", "tag", "--data", "own.conll", "--out", "run", status=2)
    assert message in said


# ---------------------------------------------------------------- language models

WORDS = [
    "--hidden-size",
    "16",
    "--batch-size",
    "4",
    "--bptt",
    "8",
    "--steps",
    "150",
    "--lr",
    "0.02",
]


def write_rhymes(path: Path) -> None:
    """Sentences whose last word is their second one, which no n-gram of order 3 sees."""
    names = np.random.default_rng(0).choice(["cat", "dog", "cow"], 600)
    path.write_text("".join(f"the {name} and a {name}\n" for name in names))


def test_words_are_remembered_longer_than_by_ngrams(run: Run, tmp_path: Path) -> None:
    write_rhymes(tmp_path / "t.txt")
    command = ["train", "wordlm", "--data", "t.txt", *WORDS, "--dropout", "0", "--order", "3"]
    command += ["--steps", "200", "--hidden-size", "24", "--bptt", "32", "--cell", "gru"]
    perplexity = table(run(*command, "--out", "run"), 2)
    assert perplexity["gru"] < 1.25  # 3 ** (1 / 6) = 1.20
    assert perplexity["Kneser-Ney, order 3"] > 1.35  # 3 ** (2 / 6) = 1.44
    assert perplexity["unigrams"] > 4

    figures = json.loads(run("score", "run", "the cat and a cat", "--json"))
    factors = [row["log_prob"] for row in figures["symbols"]]
    assert [row["symbol"] for row in figures["symbols"]] == [" the", " cat", " and", " a", " cat"]
    assert np.exp(factors[4]) > 0.9
    assert figures["log_prob"] == pytest.approx(sum(factors))
    assert figures["perplexity"] == pytest.approx(np.exp(-np.mean(factors)))
    shown = run("score", "run", "the cat and a dog")
    assert "' dog'" in shown
    assert "over 5 words" in shown
    records = predictions("t.txt", "run")
    assert records[0]["words"][0][0] == " the"
    assert run("predict", "run", typed="the cat and\n").endswith(" the cat and\n")


def test_words_are_generated(run: Run, tmp_path: Path) -> None:
    """Known words; a prompt counts, and a seed gives the same text."""
    write_rhymes(tmp_path / "t.txt")
    text = (tmp_path / "t.txt").read_text()
    run("train", "wordlm", "--data", "t.txt", *WORDS, "--steps", "30", "--out", "run")
    first, same, other = (
        run("generate", "run", "--length", "40", "--seed", seed) for seed in ("1", "1", "2")
    )
    assert first == same != other
    lm = WordScorer.from_state(load_checkpoint("run"))
    drawn = list(lm.sample(40, generator=Generator(1)))
    assert "".join(drawn) + "\n" == first
    assert len(drawn) == 40
    assert {*drawn[1:]} <= {*lm.words}
    assert not first.startswith(" ")
    greedy = ["--temperature", "0", "--length", "3"]
    prompt = " ".join(text.split()[:6])
    after = run("generate", "run", "--prompt", prompt, *greedy)
    assert after.startswith(prompt)
    added = words(after.removesuffix("\n"))[len(words(prompt)) :]
    log_p = [lm.score(prompt + word)[-1] for word in lm.words]
    assert lm.words[int(np.argmax(log_p))] == added[0]
    run("generate", "run", "--int8", *greedy)


def test_averaged_weights_are_the_mean(run: Run, tmp_path: Path) -> None:
    write_rhymes(tmp_path / "t.txt")
    task: Any = TASKS_BY_NAME["wordlm"]
    config = task.settings(hidden_size=4, batch_size=2, bptt=4, steps=6, average=0.5, dropout=0.0)
    training, seen = task((tmp_path / "t.txt").read_text(), config), []
    for progress in training:
        if progress.step in (3, 4, 5):
            seen.append(training.model.head.bias.numpy().copy())
    np.testing.assert_allclose(training.weights()["head.bias"], np.mean(seen, 0), rtol=1e-5)


def test_a_character_model_beside_ngrams_and_other_cells(run: Run, tmp_path: Path) -> None:
    write_rhymes(tmp_path / "t.txt")
    small = ["--text", "t.txt", "--hidden-size", "8", "--embedding-dim", "4", "--batch-size", "4"]
    bits = table(run("train", "charlm", *small, "--steps", "5", "--compare"), 2)
    assert bits["Kneser-Ney, order 8"] < 1 < bits["single characters"]
    assert "gru" in bits
    said = run("train", "cells", *small, "--steps", "2", "--layers", "2").splitlines()
    assert [line.split()[:2] for line in said[1:]] == [
        [cell, depth] for cell in ("rnn", "gru", "lstm") for depth in "12"
    ]


def test_texts_that_are_too_short(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("to be or not to be")
    said = run("train", "wordlm", "--data", "t.txt", "--out", "run", status=2)
    assert "the text is too short: without its held-out end it has 4 words" in said
    assert "--batch-size" in said
