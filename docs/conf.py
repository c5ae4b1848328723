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


_fields = {}  # docstrings of dataclass fields


def _keep_field(app, what, name, obj, options, lines):
    """Before napoleon, which takes what stands before a colon for the type of a field."""
    if what == "attribute":
        _fields[name] = list(lines)


def _to_rst(app, what, name, obj, options, lines):
    """Docstrings are plain text with backticks: bars and stars are themselves, rows of bars are a table."""
    lines[:] = _fields.pop(name, lines)
    out, table = [], False
    for line in lines:
        row = line.lstrip().startswith("|")
        if row and not table:
            out += ["", "::", ""]
        if table and not row:
            out.append("")
        quoted = line.split("`")
        quoted[::2] = [part.replace("|", "\\|").replace("*", "\\*") for part in quoted[::2]]
        quoted[2::2] = ["\\ " + part if part[:1].isalnum() else part for part in quoted[2::2]]  # `Photo`s
        out.append("    " + line if row else "`".join(quoted))
        table = row
    lines[:] = out


def setup(app):
    app.connect("autodoc-process-docstring", _keep_field, priority=100)
    app.connect("autodoc-process-docstring", _to_rst, priority=900)
