"""Sphinx: `sphinx-build -W docs build/docs` (pip install '.[docs]')."""

project = "facejax"
author = "the facejax authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx.ext.coverage"]
html_theme = "furo"
html_title = "facejax"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
default_role = "code"  # docstrings quote names with single backticks
exclude_patterns = ["pictures"]
coverage_show_missing_items = True


def _to_rst(app, what, name, obj, options, lines):
    """Docstrings are plain text with backticks: bars and stars are themselves, rows of bars are a table."""
    out, table = [], False
    for line in lines:
        row = line.lstrip().startswith("|")
        if row and not table:
            out += ["", "::", ""]
        if table and not row:
            out.append("")
        quoted = line.split("`")
        quoted[::2] = [part.replace("|", "\\|").replace("*", "\\*") for part in quoted[::2]]
        out.append("    " + line if row else "`".join(quoted))
        table = row
    lines[:] = out


def setup(app):
    app.connect("autodoc-process-docstring", _to_rst, priority=900)
