"""An HTML page with a table that can be sorted and searched: one file, no network, no library."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from facejax.atomic import write_text


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    status: str  # ok, filtered, doubtful or failed; gives the row's colour
    pictures: Sequence[tuple[str, str]]  # picture (a path beside the page, or data:) and the target of a click
    texts: Sequence[str]
    numbers: Sequence[float | None]


def write_page(
    path: Path,
    *,
    title: str,
    heading: str,
    notes: Sequence[str],
    pictures: int,
    texts: Sequence[str],
    numbers: Sequence[str],
    rows: Sequence[Row],
    width: int = 96,
) -> None:
    """Write the table. A click on a column's name sorts by it, a second click in the other direction.

    Args:
      path: of the page.
      title, heading: texts.
      notes: paragraphs of HTML; all else is plain text.
      pictures: number of columns of pictures.
      texts, numbers: names of the other columns.
      rows: the table.
      width: of the pictures, pixels.
    """
    heads = [*[""] * pictures, *texts, *numbers]
    write_text(
        path,
        _PAGE.format(
            title=html.escape(title),
            heading=html.escape(heading),
            notes="\n".join(f"<p>{note}</p>" for note in notes if note),
            head="".join(f"<th>{html.escape(name)}</th>" for name in heads),
            rows="\n".join(_row(row, pictures) for row in rows),
            width=width,
        ),
    )


def _row(row: Row, pictures: int) -> str:
    cells = [f'<td><a href="{_address(to)}"><img loading="lazy" src="{_address(at)}" alt=""></a></td>'
             for at, to in row.pictures]  # fmt: skip
    cells += ["<td></td>"] * (pictures - len(cells))
    cells += [f"<td>{html.escape(text)}</td>" for text in row.texts]
    cells += ['<td data-v=""></td>' if x is None else f'<td class="n" data-v="{x}">{x:.4g}</td>' for x in row.numbers]
    return f'<tr class="{html.escape(row.status)}">{"".join(cells)}</tr>'


def _address(place: str) -> str:
    return place if place.startswith("data:") else quote(place)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px sans-serif; margin: 1.5em; color: #222; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: 4px 8px; border-bottom: 1px solid #ddd; text-align: left; vertical-align: middle; }}
th {{ position: sticky; top: 0; background: #fff; cursor: pointer; }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
td img {{ width: {width}px; display: block; }}
tr.failed {{ background: #fdeaea; }} tr.filtered, tr.doubtful {{ background: #fdf6e3; }}
</style></head><body>
<h1>{heading}</h1>
{notes}
<table><thead><tr>{head}</tr></thead><tbody>
{rows}
</tbody></table>
<script>
const body = document.querySelector("tbody");
document.querySelectorAll("th").forEach((head, column) => {{
  let up = false;
  head.addEventListener("click", () => {{
    up = !up;
    const value = row => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const compare = (a, b) => {{
      const x = value(a), y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return up ? order : -order;
    }};
    body.append(...[...body.rows].sort(compare));
  }});
}});
</script></body></html>
"""
