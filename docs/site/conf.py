"""The configuration of Sphinx: MyST's Markdown, PyData's theme, formulas as MathML.

`docs/site/build.py` copies the pages to the folder that Sphinx reads; nothing is written beside
the sources.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

project = "tinygrad_rnn"
author = "tinygrad_rnn's authors"
extensions = ["myst_parser"]
root_doc = "index"
html_theme = "pydata_sphinx_theme"
html_title = "tinygrad_rnn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {"docs/gallery": [], "docs/porting": []}  # no pages below it; wide code
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "docs/porting": []},
    "navigation_with_keys": False,
    "header_links_before_dropdown": 5,  # the gallery and development are under "More"
    "footer_start": [],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
python_maximum_signature_line_length = 70
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
add_module_names = False


def mathml(display: bool) -> Any:
    """Writes a formula as MathML, which browsers draw without a script."""
    from docutils.utils.math.latex2mathml import tex2mathml

    def visit(writer: Any, node: Any) -> None:
        from docutils.nodes import SkipNode

        # docutils sets the index of an accented letter below it, unless a group ends between.
        tex = re.sub(r"(\\(?:tilde|hat|bar)\s*(?:\w|\{\w\}))(?=_)", r"{\1{}}", node.astext())
        tag = "div" if display else "span"
        writer.body.append(f'<{tag} class="math">{tex2mathml(tex, display)}</{tag}>')
        raise SkipNode

    return visit


def link_names(app: Any, doctree: Any) -> None:
    """Makes each `tg.name` of a page a link to the reference, where it is there."""
    from docutils import nodes
    from sphinx.addnodes import pending_xref

    short = app.env.docname == "docs/operations"  # its names are those of `tg`, without it
    for literal in list(doctree.findall(nodes.literal)):
        name = literal.astext().removesuffix("()")
        if name.startswith("nn.") or (short and name.isidentifier()):
            name = f"tg.{name}"
        if name.startswith("tg.") and not isinstance(
            literal.parent, (nodes.reference, pending_xref)
        ):
            link = pending_xref(
                "", literal.deepcopy(), refdomain="py", reftype="obj", reftarget=name,
                refdoc=app.env.docname, refexplicit=True, refwarn=False,
            )  # fmt: skip
            literal.replace_self(link)


def enlarge(app: Any, doctree: Any) -> None:
    """Gives each plot its size, of which Sphinx makes a link to the file: a phone can zoom in."""
    from docutils import nodes

    for image in doctree.findall(nodes.image):
        file = Path(app.srcdir, image["uri"])
        if file.suffix == ".png":
            image["width"] = f"{int.from_bytes(file.read_bytes()[16:20])}px"  # of its header


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (mathml(False), None), (mathml(True), None))
    app.connect("doctree-read", link_names)
    app.connect("doctree-read", enlarge)
