"""`tinygrad-rnn look`: the page holds what the model computes, and works in a browser."""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import tinygrad_rnn as tg
from tinygrad_rnn.cli.app import app
from tinygrad_rnn.cli.look import page
from tinygrad_rnn.io import CheckpointError
from tinygrad_rnn.recipes import CharLM, CharLMConfig, CharLMTraining
from tinygrad_rnn.recipes import look as looking
from tinygrad_rnn.recipes.look import look
from tinygrad_rnn.recipes.tagger import Tagger
from tinygrad_rnn.recipes.word_scorer import UNKNOWN, WordScorer

TEXT = "the cat </script> sat\non the mat & <b>lay</b>\n"
SIZES = "--hidden-size 6 --embedding-dim 4 --steps 2 --batch-size 2"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of small models."""
    folder = tmp_path_factory.mktemp("runs")
    for cell, layers in (("gru", 2), ("lstm", 1)):
        config = CharLMConfig(
            cell=cell, hidden_size=5, num_layers=layers, embedding_dim=4, batch_size=2, bptt=8,
            steps=3,
        )  # fmt: skip
        training = CharLMTraining(TEXT * 30, config)
        list(training)
        tg.io.save_checkpoint(folder / cell, training.checkpoint())
    (folder / "a").write_text("one two\nthree\n" * 20)
    (folder / "b").write_text("eins zwei\ndrei\n" * 20)
    (folder / "words").write_text("the cat sat on the mat\nthe dog lay on the log\n" * 40)
    (folder / "rows.csv").write_text("text,label\ngood film,yes\nbad film,no\n" * 20)
    (folder / "rows.conll").write_text("Anna B-PER\nlives O\nin O\nRome B-LOC\n\n" * 20)
    for line in (
        f"translate --source a --target b {SIZES} --out pairs",
        "classify --data rows.csv --quick --epochs 1 --out classified",
        "tag --data rows.conll --quick --epochs 1 --out tagged",
        "wordlm --data words --hidden-size 6 --steps 2 --batch-size 2 --quick --out words_lm",
    ):
        parts = [str(folder / p) if (folder / p).exists() else p for p in line.split()]
        parts[-1] = str(folder / parts[-1])
        done = CliRunner().invoke(app, ["train", *parts])
        assert done.exit_code == 0, (done.output, done.exception)
    return folder


def unpacked(text: str, dtype: str) -> Any:
    return np.frombuffer(base64.b64decode(text), dtype)


def content_of(text: str) -> Any:
    [data] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    return json.loads(data)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_language_model_s_page_has_its_scores_and_activations(runs: Path, cell: str) -> None:
    lm, found = CharLM.load(runs / cell), look(runs / cell, [TEXT])
    n = len(TEXT)
    assert "".join(found["symbols"]) == TEXT
    bits = unpacked(found["bits"], "<f4")
    np.testing.assert_allclose(bits, -lm.score(TEXT) / math.log(2), atol=1e-4)
    best = unpacked(found["next"], "<u4").reshape(n, -1)
    p = unpacked(found["probabilities"], "<f4").reshape(n, -1)
    assert (np.diff(p) <= 0).all()
    for place in (0, 7, n - 2):  # the probability of the most probable next symbol
        symbol = found["vocabulary"][best[place, 0]]
        prefix = TEXT[: place + 1]
        log_p = lm.score(prefix + symbol)[-1]
        assert math.log(p[place, 0]) == pytest.approx(log_p, abs=1e-4)
        others = [lm.score(prefix + s)[-1] for s in found["vocabulary"]]
        assert log_p == pytest.approx(max(others))
    names = [part["name"] for part in found["parts"]]
    assert names[-1] == {"gru": "layer 2, state h", "lstm": "state c"}[cell]
    assert len(names) == {"gru": 8, "lstm": 6}[cell]
    _, state = lm.model(tg.as_tensor(lm.encode(TEXT)[:, None]))
    last = state[-1] if cell == "lstm" else state
    part = found["parts"][-1]
    values = unpacked(part["values"], "u1").reshape(len(part["units"]), n)
    scaled = part["low"] + values[:, -1] / 255 * (part["high"] - part["low"])
    np.testing.assert_allclose(scaled, last.numpy()[-1, 0], atol=0.01)


def test_words_are_coloured_by_their_factors_of_the_chain_rule(runs: Path) -> None:
    found, text = look(runs / "words_lm", ["the cat lay\non the bird"]), "the cat lay\non the bird"
    state = tg.io.load_checkpoint(runs / "words_lm")
    factors = WordScorer.from_state(state).score(text)
    assert "".join(found["symbols"]) == " " + text  # a word has the blank before it
    np.testing.assert_allclose(unpacked(found["bits"], "<f4"), -factors / math.log(2), atol=1e-4)
    assert found["vocabulary"][0] == UNKNOWN
    assert found["symbols"][-1].strip() == "bird"


def test_windows_and_the_bound_of_a_page(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = look(runs / "gru", [TEXT])
    monkeypatch.setattr(looking, "WINDOW", 7)
    windows = look(runs / "gru", [TEXT])
    np.testing.assert_allclose(
        unpacked(windows["bits"], "<f4"), unpacked(whole["bits"], "<f4"), atol=1e-4
    )
    monkeypatch.setattr(looking, "MOST", len(TEXT) * 8 * 2)  # two units of each of eight parts
    for part, every in zip(look(runs / "gru", [TEXT])["parts"], whole["parts"], strict=True):
        assert len(part["units"]) == 2
        assert part["of"] == 5
        values = unpacked(every["values"], "u1").reshape(5, -1)
        spread = values.std(axis=1)
        assert spread[part["units"]].min() >= np.delete(spread, part["units"]).max() - 0.6


def test_the_page_contains_everything_and_no_text_ends_its_script(
    runs: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "some.txt", tmp_path / "page.html"
    file.write_text(TEXT)
    for more in ([str(file)], ["--file", str(file)], [TEXT]):
        done = CliRunner().invoke(app, ["look", str(runs / "gru"), *more, "--out", str(out)])
        assert done.exit_code == 0, done.exception
        text = out.read_text("utf-8")
        assert "".join(content_of(text)["symbols"]) == TEXT
        assert not re.search(r"""(src|href)\s*=|@import|url\(""", text)
        assert "default-src 'none'" in text
        assert text.count("</script>") == 2
        assert "the cat &lt;/script> sat" in text


def test_pages_of_the_other_recipes(runs: Path) -> None:
    pairs = look(runs / "pairs", ["one two", "", "three"])["pairs"]
    assert [pair["source"][-1] for pair in pairs] == ["</s>", "</s>"]
    for pair in pairs:
        weights = np.array(pair["weights"])
        assert weights.shape == (len(pair["target"]), len(pair["source"]))
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=0.01)
    [one] = look(runs / "classified", ["a good film"])["texts"]
    assert [word for word, _ in one["words"]] == ["a", "good", "film"]
    [tagged, long] = look(runs / "tagged", ["Anna lives in Rome", "Anna " * 201])["texts"]
    assert len(tagged["tags"]) == 4
    assert np.array(tagged["contributions"]).shape == (4, 4)
    assert (len(long["tags"]), long["contributions"]) == (201, [])
    for found in ({"kind": "translation", "pairs": pairs}, {"kind": "classify", "texts": [one]}):
        assert content_of(page(found, "a title")) == found


def test_contributions_to_tags_are_the_gradients_times_the_inputs(runs: Path) -> None:
    """A word whose vector grows a little changes the log-odds of all tags as is said."""
    tagger: Any = Tagger.from_state(tg.io.load_checkpoint(runs / "tagged"))
    words, small = ["Anna", "lives", "in", "Rome"], 1e-3
    [found] = tagger.explain([words])
    places = [tagger.tags.index(tag) for tag in found["tags"]]
    vectors = tagger.model.vectors(tagger.encode([words])).detach().numpy()

    def odds(word: int, factor: float) -> Any:
        changed = vectors.copy()
        changed[word] *= factor
        scores = tagger.model.read(tg.as_tensor(changed), [4]).numpy()[:, 0].astype(float)
        return [row[k] - np.log(np.exp(np.delete(row, k)).sum()) for row, k in zip(
            scores, places, strict=True)]  # fmt: skip

    for j in range(4):
        change = np.subtract(odds(j, 1 + small), odds(j, 1 - small)) / (2 * small)
        np.testing.assert_allclose(np.array(found["contributions"])[:, j], change, atol=2e-3)


def test_what_cannot_be_looked_at(runs: Path, tmp_path: Path) -> None:
    for more, said in (([], "a text to read"), ([""], "the text is empty"), (["é"], "'é'")):
        done = CliRunner().invoke(app, ["look", str(runs / "gru"), *more])
        assert said in str(done.exception)
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("pipe", "not a regular file"), ("no/such/page", "there is no folder")):
        out = ["--out", str(tmp_path / name)]
        done = CliRunner().invoke(app, ["look", str(runs / "gru"), "the", *out])
        assert said in str(done.exception)
    tg.io.save_checkpoint(tmp_path / "other", {"recipe": "forecast"})
    with pytest.raises(CheckpointError, match="of train forecast, which look does not take"):
        look(tmp_path / "other", ["text"])


# ---------------------------------------------------------------- in a browser

Open = Callable[..., Any]


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Returns a function that opens a page, which must not fail or load anything."""
    faults: list[str] = []

    def show(content: Any, width: int = 1200, scheme: str = "light") -> Any:
        path = tmp_path / "page.html"
        path.write_text(page(content, "a title"), "utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, has_touch=width < 500
        )
        view = context.new_page()
        view.on("pageerror", lambda error: faults.append(str(error)))
        view.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        view.on("request", lambda r: faults.append(r.url) if r.url != path.as_uri() else None)
        view.goto(path.as_uri())
        return view

    yield show
    assert not faults


def background(view: Any, selector: str) -> str:
    color: str = view.eval_on_selector(selector, "e => getComputedStyle(e).backgroundColor")
    return color


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hover_and_choice(visit: Open, runs: Path, width: int, scheme: str) -> None:
    content = look(runs / "gru", [TEXT])
    view = visit(content, width, scheme)
    assert view.inner_text("aside").startswith("Point at a symbol")
    span = "main .text span >> nth=4"
    (view.tap if width < 500 else view.hover)(span)
    said = view.inner_text("aside")
    best = unpacked(content["next"], "<u4").reshape(len(TEXT), -1)[4, 0]
    bits = unpacked(content["bits"], "<f4")[4]
    assert said.startswith(TEXT[4])
    assert f"surprise {bits:.2f} bits" in said
    assert view.locator("aside tr").count() == looking.LIKELIEST
    assert content["vocabulary"][best].replace(" ", "␣") in view.inner_text("aside tr >> nth=0")
    assert not view.is_visible("select >> nth=1")
    before = view.eval_on_selector_all("main span", "all => all.map(e => e.className)")
    view.select_option("select >> nth=0", label="layer 2, state h")
    view.select_option("select >> nth=1", label="unit 3")
    after = view.eval_on_selector_all("main span", "all => all.map(e => e.className)")
    assert before != after
    part = content["parts"][-1]
    value = unpacked(part["values"], "u1").reshape(5, -1)[3, 4] / 255 * 2 - 1
    assert f"layer 2, state h, unit 3: {value:.2f}" in view.inner_text("aside")
    view.keyboard.press("Escape")
    view.evaluate("document.activeElement.blur()")
    view.keyboard.press("ArrowRight")
    assert view.inner_text("aside").startswith(TEXT[5])
    wide = view.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    paper = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 22, 26)"}[scheme]
    assert background(view, "body") == paper


@pytest.mark.browser
def test_long_texts_scroll_and_are_recoloured_quickly(visit: Open, runs: Path) -> None:
    text = (TEXT * (20_000 // len(TEXT) + 1))[:20_000]
    view = visit(look(runs / "gru", [text]))
    assert view.locator("main span").count() == 20_000
    recolour = """() => { const s = document.querySelector("select"), t = performance.now();
        s.value = 3; s.dispatchEvent(new Event("change")); document.body.offsetHeight;
        return performance.now() - t }"""
    assert view.evaluate(recolour) < 1000
    frames = view.evaluate("""() => new Promise(done => {
        const times = []; let last = performance.now(), y = 0;
        const step = now => { times.push(now - last); last = now; scrollTo(0, y += 200);
            times.length < 60 ? requestAnimationFrame(step) : done(times) };
        requestAnimationFrame(step) })""")
    assert float(np.median(frames)) < 100  # milliseconds, on a machine that also runs other tests


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 390])
def test_attention_and_contributions(visit: Open, runs: Path, width: int) -> None:
    content = look(runs / "pairs", ["one two", "three"])
    view = visit(content, width)
    view.hover(".row span >> nth=0")
    [weights] = [np.array(pair["weights"]) for pair in content["pairs"][:1]]
    assert view.locator("section >> nth=0 >> line.on").count() == (weights[:, 0] >= 0.03).sum()
    assert f"{weights[:, 0].max():.2f}" in view.inner_text("aside")
    ends = view.eval_on_selector("line", "e => [+e.getAttribute('y1'), +e.getAttribute('y2')]")
    assert ends[0] < ends[1]
    content = look(runs / "classified", ["a good film", "a bad film"])
    view = visit(content, width)
    view.hover(".words span >> nth=2")
    share = content["texts"][0]["words"][1][1]
    assert f"{share:.3f} to the log-odds" in view.inner_text("aside")
    content = look(runs / "tagged", ["Anna lives in Rome"])
    view = visit(content, width)
    assert view.locator("ruby rt").count() == 4
    view.hover("ruby >> nth=3")
    assert f"{content['texts'][0]['contributions'][3][2]:.2f}" in view.inner_text("aside")
    largest = np.abs(content["texts"][0]["contributions"][3]).argmax()
    assert re.search("[pn]8", view.get_attribute(f"ruby >> nth={largest} >> span", "class") or "")
