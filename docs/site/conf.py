"""How Sphinx renders the pages that docs/site/build.py gathers. Nothing in them is fetched from elsewhere."""

import re

from docutils import nodes
from latex2mathml.converter import convert

project = "R4T, replicated"
author = copyright = "the authors of the r4t_utils replication"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "index"
exclude_patterns = ["_build"]
nb_execution_mode = "off"  # pages show the recorded outputs
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_mock_imports = ["fastapi", "uvicorn"]  # which cannot be imported as autodoc imports
default_role = "code"
html_theme = "sphinx_book_theme"
html_title = project
html_sidebars = {"**": ["search-button-field.html", "sbt-sidebar-nav.html"]}
html_theme_options = {
    "show_navbar_depth": 1,
    "use_download_button": False,
    "home_page_in_toc": True,
    "navbar_persistent": [],
    "article_header_start": ["toggle-primary-sidebar.html"],
}
html_context = {"default_mode": "auto"}  # light or dark as the reader's system
html_static_path = ["static"]
html_css_files = ["site.css"]
html_domain_indices = False
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"


def _inline(self, node):
    self.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def _block(self, node):
    self.body.append(f'<div class="equation" tabindex="0">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def _plain_docstring(app, what, name, obj, options, lines):
    """Docstrings are plain text with code in backticks: their other marks stand for themselves."""
    plain, quoted = [], False
    for line in lines:
        after_gap = not plain or not plain[-1]
        if quoted and line[:1].strip():
            plain.append("")
        quoted = line[:1].isspace() and (after_gap or quoted)
        text = "    " * quoted + line.strip()  # an indented line goes on with the one before
        plain.append(re.sub(r"(`[^`]*`)|([|*])", lambda mark: mark[1] or "\\" + mark[2], text))
    lines[:] = plain


def setup(app):
    """Mathematics as MathML, which browsers typeset themselves: no script, and nothing to load."""
    app.connect("autodoc-process-docstring", _plain_docstring)
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
