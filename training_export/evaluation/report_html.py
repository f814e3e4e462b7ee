"""The report as one self-contained HTML file, for screen and paper."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from training_export.evaluation.report_parts import Grid, Paragraph, Part, Pictures, Section

STYLE = """
:root { color-scheme: light; --text: #1b1f24; --muted: #57606a; --line: #d0d7de; --soft: #f3f5f7; --caution-back: #fff4d6;
  --caution: #6b4a00; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem; color: var(--text); background: #fff;
  font: 1rem/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); }
p { max-width: 46rem; margin: .4rem 0; }
.caution { background: var(--caution-back); color: var(--caution); border-radius: .4rem; padding: .5rem 1rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding: .2rem 0; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; text-align: left; }
thead th { background: var(--soft); }
tbody th { font-weight: 400; }
td { font-variant-numeric: tabular-nums; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: .5rem 0; flex: 1 1 22rem; max-width: 31rem; break-inside: avoid; }
figcaption { color: var(--muted); font-size: .85rem; }
img { width: 100%; height: auto; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""


def report_html(sections: Sequence[Section]) -> str:
    """Return the report; every text is escaped here, names of cohorts and groups come from a file."""
    first, *rest = sections
    body = [f"<header><h1>{escape(first.title)}</h1>{_parts(first.parts)}</header>", "<main>"]
    body += [f"<section><h2>{escape(section.title)}</h2>{_parts(section.parts)}</section>" for section in rest]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(first.title)}</title><style>{STYLE}</style></head>\n<body>{''.join(body)}</main></body></html>\n"
    )


def _parts(parts: Sequence[Part]) -> str:
    return "\n".join(_part(part) for part in parts)


def _part(part: Part) -> str:
    if isinstance(part, Paragraph):
        return f"<p{' class=caution' if part.caution else ''}>{escape(part.text)}</p>"
    return _grid(part) if isinstance(part, Grid) else _pictures(part)


def _grid(grid: Grid) -> str:
    caption = f"<caption>{escape(grid.caption)}</caption>" if grid.caption else ""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in grid.head)
    rows = "".join(f"<tr>{_row(row)}</tr>" for row in grid.rows)
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(row: Sequence[str]) -> str:
    first, *rest = row
    return f'<th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest)


def _pictures(pictures: Pictures) -> str:
    shown = [
        f'<figure><img alt="{escape(drawn.alt)}" src="data:image/svg+xml;base64,'
        f'{base64.b64encode(drawn.encoded("svg")).decode()}"><figcaption>{escape(drawn.alt)}</figcaption></figure>'
        for drawn in pictures.figures
    ]
    return f'<div class="pictures">{"".join(shown)}</div>'
