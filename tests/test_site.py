"""The site of `make docs`, in Chromium: pages fit a phone and a desk, and can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

HTML = Path(__file__).parents[1] / "build" / "docs" / "html"

# Texts of a page that have less contrast than WCAG AA asks for, and what is wider than the page.
# A background is the nearest ones that are not transparent, one over another.
FAULTS = """() => {
  const rgba = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const over = (top, below) => {
    const a = top[3] ?? 1;
    return [0, 1, 2].map(i => top[i] * a + below[i] * (1 - a));
  };
  const light = c => {
    const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement)
      layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const faults = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    const visible = {opacityProperty: true, visibilityProperty: true};
    if (!node.data.trim() || !element.checkVisibility(visible)) continue;
    const box = element.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;   // for screen readers
    const style = getComputedStyle(element), below = paper(element);
    const [a, b] = [light(over(rgba(style.color), below)), light(below)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize), bold = +style.fontWeight >= 700;
    if (ratio < (size >= 24 || bold && size >= 18.66 ? 3 : 4.5))
      faults.push(`contrast ${ratio.toFixed(2)}: ${node.data.trim().slice(0, 40)}`);
  }
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) faults.push(`the page is ${wide} pixels wide`);
  for (const e of document.querySelectorAll(".bd-article *")) {
    const box = e.getBoundingClientRect();
    if (box.right <= innerWidth + 1 || !box.width) continue;
    let p = e;
    while (p && getComputedStyle(p).overflowX === "visible") p = p.parentElement;
    if (!p || p.matches(".bd-article-container, .bd-main, body, html"))
      faults.push(`${e.tagName} reaches ${Math.round(box.right)} pixels to the right`);
  }
  for (const image of document.images)
    if (!image.complete || !image.naturalWidth) faults.push(`no image: ${image.src}`);
  return faults;
}"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_and_can_be_read(browser: Any, width: int, scheme: str) -> None:
    pages = [page for page in HTML.rglob("*.html") if "_static" not in page.parts]
    assert len(pages) > 40, "build the site first: make docs"
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    view = context.new_page()
    faults = {}
    for page in pages:
        view.goto(page.as_uri())
        assert view.evaluate("document.documentElement.dataset.theme") == scheme
        if found := view.evaluate(FAULTS):
            faults[page.relative_to(HTML).as_posix()] = sorted({*found})[:5]
    assert not faults, "\n".join(f"{page}: {found}" for page, found in faults.items())


@pytest.mark.browser
def test_the_check_finds_what_cannot_be_read(browser: Any) -> None:
    view = browser.new_page(viewport={"width": 390, "height": 900})
    view.set_content(
        "<p style='color: #888'>grey</p><p style='color: #666'>darker</p>"
        "<div style='background: #222'><p style='color: rgba(255, 255, 255, 0.2)'>veiled</p></div>"
        "<div class='bd-article'><p style='width: 900px'>wide</p></div>"
    )
    found = view.evaluate(FAULTS)
    assert [fault.split(": ")[-1] for fault in found[:2]] == ["grey", "veiled"]
    assert any("pixels wide" in fault for fault in found)
    assert any("P reaches" in fault for fault in found)
