"""Draws the figures of the lecture's chapters: `python docs/lecture/figures.py` writes the SVGs.

A figure is a list of shapes on a card of 480 units, in one font size, so that it can be read on a
phone. Colours follow the reader's light or dark scheme; the card itself is opaque, so that they
have their contrast on any page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np

WIDTH = 480
LIGHT = {
    "card": "#ffffff", "ink": "#1f2328", "soft": "#57606a", "back": "#b3261e",
    "x": "#dceaff #0757b5", "h": "#fff0cf #845400", "y": "#dcf7e3 #146c2e",
    "gate": "#fbe1f0 #9c2a70", "op": "#eceff3 #57606a", "c": "#e8e2ff #5b3fc4",
}  # fmt: skip
DARK = {
    "card": "#161b22", "ink": "#e6edf3", "soft": "#a9b4c0", "back": "#ff8b82",
    "x": "#12315c #6fb3ff", "h": "#3b2d05 #e0ab3a", "y": "#10381d #56cf6c",
    "gate": "#46153a #ff8cc6", "op": "#262d36 #a9b4c0", "c": "#2b2257 #ab97ff",
}  # fmt: skip
KINDS = ("x", "h", "y", "gate", "op", "c")


def colours(scheme: dict[str, str]) -> str:
    """The rules of a colour scheme."""
    rules = [f".{kind}{{fill:{scheme[kind].split()[0]};stroke:{scheme[kind].split()[1]}}}"
             for kind in KINDS]  # fmt: skip
    rules += [f".k{kind}{{stroke:{scheme[kind].split()[1]};fill:none}}" for kind in KINDS]
    rules += [f".t{kind}{{fill:{scheme[kind].split()[1]}}}" for kind in KINDS]
    ink, soft, back = (scheme[name] for name in ("ink", "soft", "back"))
    return "".join(
        [
            f".card{{fill:{scheme['card']}}}text{{fill:{ink}}}.line{{stroke:{ink}}}.head{{fill:{ink}}}",
            f".soft{{fill:{soft}}}.grid{{stroke:{soft}}}.back{{stroke:{back}}}",
            f".headb,.tback{{fill:{back}}}",
            *rules,
        ]
    )


STYLE = (
    "text{font:16px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;text-anchor:middle}"
    ".m{font-family:'STIX Two Math','Cambria Math',Cambria,Georgia,serif;"
    "font-style:italic;font-size:18px}"
    ".start{text-anchor:start}.end{text-anchor:end}"
    ".line,.back{fill:none;stroke-width:1.6}.dash{stroke-dasharray:5 4}"
    ".grid{stroke-width:.6;opacity:.5}"
    ".x,.h,.y,.gate,.op,.c{stroke-width:1.6}.kx,.kh,.ky,.kgate,.kop,.kc{stroke-width:2.4}"
    + colours(LIGHT)
    + "@media(prefers-color-scheme:dark){"
    + colours(DARK)
    + "}"
)
HEADS = "".join(
    f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
    f' orient="auto-start-reverse"><path class="{name}" d="M0 0L10 5L0 10z"/></marker>'
    for name in ("head", "headb")
)


def place(z: float) -> str:
    """A coordinate, in few digits."""
    return f"{round(float(z), 1):g}"


def spans(text: str) -> str:
    """Text with subscripts, superscripts and hats: `h_t`, `x_{t-1}`, `\\hat y_t`."""
    text = re.sub(r"\\hat (\w)", lambda m: {"y": "ŷ", "x": "x̂"}[m[1]], text)
    out, up = [], 0.0
    for sign, braced, plain, letter in re.findall(r"([_^])(?:\{(.*?)\}|(\w))|([^_^])", text):
        want = 0.0 if letter else (5.0 if sign == "_" else -6.0)
        part = escape(letter or braced or plain)
        size = "" if letter else ' font-size="13"'
        move = f' dy="{place(want - up)}"' if want != up else ""
        out.append(f"<tspan{move}{size}>{part}</tspan>" if move or size else part)
        up = want
    return "".join(out)


class Drawing:
    """A card of shapes; each function adds one."""

    def __init__(self, name: str, title: str, height: float) -> None:
        self.name, self.title, self.height = name, title, height
        self.shapes: list[str] = []

    def text(self, x: float, y: float, text: str, style: str = "m") -> None:
        """Text around a point. **Arguments** style: `m` for mathematics, `soft`, `start`, ..."""
        self.shapes.append(
            f'<text class="{style}" x="{place(x)}" y="{place(y + 5.5)}">{spans(text)}</text>'
        )

    def box(
        self, x: float, y: float, text: str, kind: str = "op",
        w: float = 46, h: float = 36, style: str = "m", r: float = 8,
    ) -> None:  # fmt: skip
        """A box around a point."""
        self.shapes.append(
            f'<rect class="{kind}" x="{place(x - w / 2)}" y="{place(y - h / 2)}" width="{place(w)}"'
            f' height="{place(h)}" rx="{place(r)}"/>'
        )
        if text:
            self.text(x, y, text, style)

    def dot(self, x: float, y: float, text: str, kind: str = "op", r: float = 15) -> None:
        """A circle with an operation in it."""
        self.shapes.append(
            f'<circle class="{kind}" cx="{place(x)}" cy="{place(y)}" r="{place(r)}"/>'
        )
        self.text(x, y, text, "")

    def path(self, *points: tuple[float, float], kind: str = "line", head: bool = True) -> None:
        """A line through points, with an arrowhead at its end."""
        d = "M" + "L".join(f"{place(x)} {place(y)}" for x, y in points)
        self.raw_path(d, kind, head)

    def raw_path(self, d: str, kind: str = "line", head: bool = True) -> None:
        """A path of SVG, with an arrowhead at its end."""
        name = "headb" if kind.startswith("back") else "head"
        end = f' marker-end="url(#{name})"' if head else ""
        self.shapes.append(f'<path class="{kind}" d="{d}"{end}/>')

    def taps(self, *points: tuple[float, float]) -> None:
        """Dots where a line branches; lines that cross without one do not meet."""
        self.shapes += [f'<circle class="head" cx="{x:g}" cy="{y:g}" r="3.2"/>' for x, y in points]

    def svg(self) -> str:
        """The file."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {place(self.height)}" '
            f'width="{WIDTH}" height="{place(self.height)}" role="img">'
            f"<title>{escape(self.title)}</title><style>{STYLE}</style><defs>{HEADS}</defs>\n"
            f'<rect class="card" width="{WIDTH}" height="{place(self.height)}"/>\n'
            + "\n".join(self.shapes)
            + "\n</svg>\n"
        )


FIGURES: list[Callable[[], Drawing]] = []


def figure(draw: Callable[[], Drawing]) -> Callable[[], Drawing]:
    """Registers a figure."""
    FIGURES.append(draw)
    return draw


def column(
    d: Drawing, x: float, top: float, state: str, below: str | None = None,
    above: str | None = None, gap: float = 62,
) -> None:  # fmt: skip
    """One step of a net: a state with its input below and its output above."""
    d.box(x, top, state, "h")
    if below is not None:
        d.box(x, top + gap, below, "x")
        d.path((x, top + gap - 18), (x, top + 19))
    if above is not None:
        d.box(x, top - gap, above, "y")
        d.path((x, top - 18), (x, top - gap + 19))


def chain(d: Drawing, xs: Iterable[float], y: float, label: str = "", kind: str = "line") -> None:
    """Arrows from each state to the next."""
    xs = list(xs)
    for a, b in pairwise(xs):
        d.path((a + 23, y), (b - 24, y), kind=kind)
        if label:
            d.text((a + b) / 2, y - 12, label)


@figure
def unrolled() -> Drawing:
    d = Drawing("unrolled", "A recurrent net, folded and unrolled over three steps", 210)
    column(d, 62, 105, "h", "x", "\\hat y")
    d.raw_path("M86 98C124 70 124 140 87 112")
    d.text(132, 105, "W")
    d.text(76, 136, "U")
    d.text(76, 74, "V")
    d.text(166, 105, "=", "")
    xs = [210, 296, 382]
    for t, x in enumerate(xs, 1):
        column(d, x, 105, f"h_{t}", f"x_{t}", f"\\hat y_{t}")
        d.text(x + 13, 136, "U")
        d.text(x + 13, 74, "V")
    chain(d, xs, 105, "W")
    d.path((405, 105), (444, 105))
    d.text(460, 105, "…", "")
    return d


@figure
def loss() -> Drawing:
    d = Drawing(
        "loss", "Each step's prediction is compared with its target; the losses are added", 330
    )
    xs = [110, 240, 370]
    for t, x in enumerate(xs, 1):
        column(d, x, 225, f"h_{t}", f"x_{t}", f"\\hat y_{t}")
        d.box(x, 96, f"ℓ_{t}", "gate")
        d.path((x, 145), (x, 115))
        d.text(x + 52, 96, f"y_{t}")
        d.path((x + 39, 96), (x + 25, 96))
        d.path((x, 78), (240 + (x - 240) * 0.15, 50))
    d.box(240, 32, "L = ℓ_1 + ℓ_2 + ℓ_3", "op", 180)
    chain(d, xs, 225)
    d.path((40, 225), (86, 225))
    d.text(26, 225, "h_0")
    return d


def predicts_next(name: str, title: str, symbols: Sequence[str], style: str) -> Drawing:
    """A net that reads all symbols but the last, and predicts all but the first."""
    d = Drawing(name, title, 255)
    xs = [96 + 96 * t for t in range(len(symbols) - 1)]
    for t, (x, (read, target)) in enumerate(zip(xs, pairwise(symbols), strict=True), 1):
        d.box(x, 150, f"h_{t}", "h")
        d.box(x, 212, read, "x", 62, 36, style)
        d.path((x, 194), (x, 169))
        d.box(x, 88, "softmax", "y", 76, 32, "")
        d.path((x, 132), (x, 105))
        d.text(x, 40, target, style)
        d.path((x, 52), (x, 71), kind="line dash")
    chain(d, xs, 150)
    d.text(36, 40, "target", "soft")
    d.text(36, 212, "input", "soft")
    return d


@figure
def next_word() -> Drawing:
    title = "The net reads The, cat, is, black and predicts cat, is, black, end"
    return predicts_next("next-word", title, ("The", "cat", "is", "black", "end"), "")


@figure
def next_character() -> Drawing:
    title = "The net reads h, e, l, l and predicts e, l, l, o"
    return predicts_next("next-character", title, "hello", "m")


@figure
def many_to_one() -> Drawing:
    d = Drawing("many-to-one", "Many to one: the last state gives one label", 205)
    xs = [72, 184, 296, 408]
    for x, word in zip(xs, ("this", "movie", "is", "great"), strict=True):
        d.box(x, 105, f"h_{xs.index(x) + 1}", "h")
        d.box(x, 167, word, "x", 68, 36, "")
        d.path((x, 149), (x, 124))
    chain(d, xs, 105)
    d.box(408, 40, "+1", "y", 46, 36, "")
    d.path((408, 87), (408, 59))
    return d


@figure
def one_to_many() -> Drawing:
    d = Drawing(
        "one-to-many",
        "One to many: an image gives the first state, each word is the next input",
        215,
    )
    d.box(52, 105, "image", "x", 70, 46, "")
    xs = [150, 245, 340, 435]
    words = ("a", "drawn", "cat", "end")
    for t, (x, word) in enumerate(zip(xs, words, strict=True)):
        d.box(x, 105, f"h_{t + 1}", "h")
        d.box(x, 40, word, "y", 66, 34, "")
        d.path((x, 87), (x, 58))
        if t:
            before = xs[t - 1]
            d.raw_path(
                f"M{before + 33} 40C{before + 62} 40 {before + 20} 175 {x} 175L{x} 125", "line dash"
            )
    d.text(150, 175, "start", "soft")
    d.path((150, 164), (150, 125), kind="line dash")
    d.path((88, 105), (126, 105))
    chain(d, xs, 105)
    return d


@figure
def many_to_many() -> Drawing:
    d = Drawing(
        "many-to-many", "Many to many: a label for each input, or a sequence of another length", 420
    )
    xs = [96, 192, 288, 384]
    d.text(WIDTH / 2, 20, "aligned: one output for each input", "soft")
    for x, word, tag in zip(
        xs, ("The", "cat", "is", "black"), ("DET", "NOUN", "VERB", "ADJ"), strict=True
    ):
        d.box(x, 108, f"h_{xs.index(x) + 1}", "h")
        d.box(x, 166, word, "x", 62, 34, "")
        d.box(x, 54, tag, "y", 66, 32, "")
        d.path((x, 149), (x, 127))
        d.path((x, 90), (x, 71))
    chain(d, xs, 108)
    d.text(WIDTH / 2, 226, "of another length: read all, then write", "soft")
    xs = [60, 132, 204, 300, 372, 440]
    for t, x in enumerate(xs):
        d.box(x, 316, f"h_{t + 1}" if t < 3 else f"s_{t - 2}", "h" if t < 3 else "c", 42)
        if t < 3:
            d.box(x, 376, f"x_{t + 1}", "x", 42)
            d.path((x, 358), (x, 335))
        else:
            d.box(x, 262, f"\\hat y_{t - 2}", "y", 42)
            d.path((x, 298), (x, 281))
    for a, b in pairwise(xs):
        d.path((a + 21, 316), (b - 22, 316))
    return d


@figure
def sequential() -> Drawing:
    d = Drawing(
        "sequential",
        "A state that reads the state before must wait; one that reads inputs need not",
        400,
    )
    xs = [96, 192, 288, 384]
    d.text(WIDTH / 2, 20, "sequential: a state reads the state before it", "soft")
    for t, x in enumerate(xs, 1):
        column(d, x, 74, f"h_{t}", f"x_{t}", gap=64)
    chain(d, xs, 74)
    d.text(WIDTH / 2, 200, "parallel: a state reads what is known beforehand", "soft")
    for t, x in enumerate(xs, 1):
        column(d, x, 254, f"h_{t}", f"x_{t}", gap=74)
        if t > 1:
            d.path((xs[t - 2] + 18, 310), (x - 20, 273))
    d.text(WIDTH / 2, 376, "no arrow between states: all at once", "soft")
    return d


@figure
def backward() -> Drawing:
    d = Drawing(
        "backward", "Back-propagation through time: gradients go back along every arrow", 250
    )
    xs = [80, 192, 304, 416]
    for t, x in enumerate(xs, 1):
        d.box(x, 140, f"h_{t}", "h")
        d.box(x, 212, f"x_{t}", "x")
        d.box(x, 56, f"ℓ_{t}", "gate")
        d.path((x, 194), (x, 159))
        d.path((x - 8, 122), (x - 8, 75))
        d.path((x + 8, 75), (x + 8, 121), kind="back")
    for a, b in pairwise(xs):
        d.path((a + 23, 132), (b - 24, 132))
        d.path((b - 24, 150), (a + 24, 150), kind="back")
        d.text((a + b) / 2, 172, "W^{⊤}", "m tback")
    d.text(60, 18, "forward", "soft start")
    d.path((24, 18), (54, 18))
    d.path((240, 18), (210, 18), kind="back")
    d.text(248, 18, "gradient", "start tback")
    return d


@figure
def graph() -> Drawing:
    d = Drawing(
        "graph", "The autograd graph of two steps: W is read twice, so its gradient is a sum", 470
    )
    left, right = 110, 300
    d.box(left, 40, "h_0", "op")
    d.box(240, 40, "W", "h", 60)
    d.box(420, 40, "U x_t + b", "x", 92)
    for x, y, state in ((left, 120, "h_1"), (right, 290, "h_2")):
        for k, name in enumerate(("matmul", "add", "tanh")):
            d.box(x, y + 70 * k, name, "op", 84, 34, "")
            if k:
                d.path((x, y + 70 * k - 53), (x, y + 70 * k - 18))
        d.text(x - 62, y + 140, state)
    d.path((left, 58), (left, 102))
    d.path((212, 46), (146, 102))
    d.raw_path("M392 59C350 120 250 180 154 189")
    d.raw_path("M152 262C210 264 224 276 258 286")
    d.raw_path("M250 58C262 140 284 220 300 272")
    d.raw_path("M432 59C440 200 420 330 343 358")
    d.raw_path("M153 128C200 124 224 96 230 61", "back dash")
    d.raw_path("M284 272C256 200 240 130 238 61", "back dash")
    d.text(24, 360, "dL/dW is the sum of", "tback start")
    d.text(24, 382, "the gradients along", "tback start")
    d.text(24, 404, "both red arrows", "tback start")
    return d


def norms(scale: float, steps: int = 30, size: int = 16) -> list[float]:
    """|dL/dh_t| of a tanh net near 0 whose recurrent matrix is a rotation times `scale`."""
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))
    w = scale * q
    g = np.ones(size) / math.sqrt(size)
    found = [1.0]
    for _ in range(steps):
        g = w.T @ g
        found.append(float(np.linalg.norm(g)))
    return found


@figure
def gradients() -> Drawing:
    d = Drawing(
        "gradients", "Gradient norm by distance: 0.8 per step vanishes, 1.25 per step explodes", 300
    )
    x0, x1, y0, y1 = 64, 370, 30, 246
    steps, low, high = 30, -3, 3

    def at(k: float, value: float) -> tuple[float, float]:
        share = (math.log10(value) - low) / (high - low)
        return x0 + (x1 - x0) * k / steps, y1 - (y1 - y0) * share

    for power in range(low, high + 1):
        y = at(0, 10.0**power)[1]
        d.path((x0, y), (x1, y), kind="grid", head=False)
        d.text(x0 - 8, y, f"10^{{{power}}}".replace("-", "−"), "end soft")
    for k in (0, 10, 20, 30):
        d.text(at(k, 1)[0], y1 + 18, str(k), "soft")
    d.text((x0 + x1) / 2, y1 + 40, "steps back", "soft")
    for scale, kind, dash in ((1.25, "kgate", ""), (1.0, "kop", " dash"), (0.8, "kx", "")):
        values = norms(scale)
        d.path(*(at(k, v) for k, v in enumerate(values)), kind=kind + dash, head=False)
        x, y = at(steps, values[-1])
        d.text(x + 8, y, f"‖W‖ = {scale:g}", "start t" + kind[1:])
    return d


@figure
def gru() -> Drawing:
    d = Drawing(
        "gru",
        "A GRU: reset scales the state that the candidate reads, update mixes old and new",
        310,
    )
    d.text(34, 60, "h_{t-1}")
    d.path((60, 60), (284, 60))
    d.path((315, 60), (384, 60))
    d.path((415, 60), (436, 60))
    d.text(456, 60, "h_t")
    d.text(38, 282, "x_t")
    d.path((60, 282), (310, 282), (310, 241))
    d.box(86, 222, "r", "gate")
    d.path((86, 60), (86, 203))
    d.path((100, 282), (100, 241))
    d.dot(140, 150, "×")
    d.path((140, 60), (140, 134))
    d.path((110, 222), (140, 222), (140, 166))
    d.box(196, 222, "z", "gate")
    d.path((196, 60), (196, 203))
    d.path((196, 282), (196, 241))
    d.box(310, 222, "h̃", "h")
    d.path((156, 150), (310, 150), (310, 203))
    d.dot(300, 60, "×")
    d.path((220, 222), (252, 222), (252, 104), (300, 104), (300, 77))
    d.path((300, 104), (334, 104))
    d.box(356, 104, "1 −", "op", 40, 28, "")
    d.dot(400, 104, "×")
    d.path((376, 104), (384, 104), head=False)
    d.path((334, 222), (400, 222), (400, 121))
    d.path((400, 88), (400, 77))
    d.dot(400, 60, "+")
    d.taps((86, 60), (140, 60), (196, 60), (100, 282), (196, 282), (300, 104))
    return d


@figure
def lstm() -> Drawing:
    d = Drawing(
        "lstm", "An LSTM: the cell state runs straight through; gates forget, write and read", 320
    )
    d.text(34, 52, "c_{t-1}")
    d.path((60, 52), (424, 52), kind="kc", head=False)
    d.path((422, 52), (436, 52))
    d.text(456, 52, "c_t")
    d.text(48, 290, "h_{t-1}, x_t")
    d.path((92, 290), (320, 290), (320, 249))
    for x, letter, kind in (
        (116, "f", "gate"),
        (184, "i", "gate"),
        (252, "g", "h"),
        (320, "o", "gate"),
    ):
        d.box(x, 230, letter, kind)
        if x < 320:
            d.path((x, 290), (x, 249))
    d.dot(116, 52, "×", "c")
    d.path((116, 211), (116, 69))
    d.dot(218, 130, "×")
    d.path((184, 211), (184, 130), (201, 130))
    d.path((252, 211), (252, 130), (235, 130))
    d.dot(218, 52, "+", "c")
    d.path((218, 114), (218, 69))
    d.box(386, 120, "tanh", "op", 60, 34, "")
    d.path((386, 52), (386, 102))
    d.dot(386, 230, "×")
    d.path((386, 138), (386, 213))
    d.path((344, 230), (369, 230))
    d.path((402, 230), (436, 230))
    d.text(456, 230, "h_t")
    d.taps((116, 290), (184, 290), (252, 290), (386, 52))
    return d


@figure
def bidirectional() -> Drawing:
    d = Drawing(
        "bidirectional",
        "Bidirectional: one net from the left, one from the right, joined at each word",
        320,
    )
    xs = [66, 182, 298, 414]
    for x, word in zip(xs, ("the", "bank", "of the", "river"), strict=True):
        n = xs.index(x) + 1
        d.box(x, 286, word, "x", 76, 34, "")
        d.box(x - 22, 214, f"→h_{n}", "h", 52)
        d.box(x + 22, 132, f"←h_{n}", "c", 52)
        d.box(x, 46, f"\\hat y_{n}", "y", 52)
        d.path((x - 22, 268), (x - 22, 233))
        d.path((x + 22, 268), (x + 22, 151))
        d.path((x - 22, 195), (x - 12, 65))
        d.path((x + 22, 113), (x + 12, 65))
    for a, b in pairwise(xs):
        d.path((a + 4, 214), (b - 49, 214))
        d.path((b - 4, 132), (a + 49, 132))
    return d


@figure
def deep() -> Drawing:
    d = Drawing("deep", "A deep net: the states of a layer are the inputs of the next", 330)
    xs = [96, 192, 288, 384]
    for n, x in enumerate(xs, 1):
        d.box(x, 296, f"x_{n}", "x")
        for layer, y in ((1, 226), (2, 154)):
            d.box(x, y, f"h_{n}^{{({layer})}}", "h", 56)
            d.path((x, y + 52), (x, y + 19))
        d.box(x, 40, f"\\hat y_{n}", "y")
        d.path((x, 135), (x, 59))
    for y in (226, 154):
        for a, b in pairwise(xs):
            d.path((a + 28, y), (b - 29, y))
    return d


@figure
def encoder_decoder() -> Drawing:
    d = Drawing(
        "encoder-decoder",
        "Encoder-decoder: the last state of the encoder is the first of the decoder",
        340,
    )
    xs = [66, 182, 298, 414]
    d.text(36, 20, "decoder", "soft start")
    for t, (x, given, wanted) in enumerate(
        zip(xs, ("start", "Le", "chat", "noir"), ("Le", "chat", "noir", "end"), strict=True)
    ):
        d.box(x, 100, f"s_{t + 1}", "c")
        d.box(x, 48, wanted, "y", 60, 30, "")
        d.box(x, 154, given, "x", 60, 30, "")
        d.path((x, 82), (x, 64))
        d.path((x, 138), (x, 119))
    chain(d, xs, 100)
    xs = [66, 182, 298]
    for t, (x, word) in enumerate(zip(xs, ("the", "black", "cat"), strict=True)):
        d.box(x, 242, f"h_{t + 1}", "h")
        d.box(x, 302, word, "x", 60, 30, "")
        d.path((x, 286), (x, 261))
    chain(d, xs, 242)
    d.text(352, 302, "encoder", "soft start")
    d.raw_path("M322 242L366 242L366 196L24 196L24 100L41 100")
    return d


@figure
def attention() -> Drawing:
    d = Drawing(
        "attention",
        "Attention: weights over the encoder's states give a context for each step",
        310,
    )
    xs = [66, 156, 246, 336]
    for t, (x, a) in enumerate(zip(xs, (0.1, 0.7, 0.1, 0.1), strict=True)):
        d.box(x, 276, f"h_{t + 1}", "h")
        d.box(x, 180, f"a_{t + 1}", "gate", 40 + 40 * a, 26 + 16 * a)
        d.path((x, 258), (x, 202 if t == 1 else 195))
        d.path((x, 166), (201 + (x - 201) * 0.14, 122), kind="line" if t == 1 else "line dash")
    d.dot(201, 104, "Σ", "op", 17)
    d.box(201, 40, "context", "y", 84, 34, "")
    d.path((201, 87), (201, 58))
    d.box(420, 104, "s_t", "c")
    d.path((420, 123), (420, 226), (66, 226), kind="line dash", head=False)
    d.taps(*((x, 226) for x in xs))
    d.text(420, 250, "score(s_t, h_i)", "")
    d.box(420, 40, "\\hat y_t", "y", 52, 34)
    d.path((420, 86), (420, 58))
    d.path((244, 40), (392, 40))
    return d


def main() -> None:
    """Writes all figures next to this file."""
    for draw in FIGURES:
        drawing = draw()
        Path(__file__).with_name(f"{drawing.name}.svg").write_text(drawing.svg(), "utf-8")


if __name__ == "__main__":
    main()
