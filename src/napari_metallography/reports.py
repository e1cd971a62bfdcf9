"""Reports that stand alone: one HTML page with its pictures inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from html import escape
from io import BytesIO
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from . import __version__
from .io.headings import heading

SIGNATURE = (
    '<div class="signature"><div>Operator: date, signature</div>'
    "<div>Checked: date, signature</div></div>"
)
"""Lines to sign on."""

_MOST_COLUMNS = 6
_MOST_NAMES = 6

_STYLE = """
body { font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1a1a1a;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.2rem; border-bottom: 1px solid #bbb; margin-top: 2rem; }
h3 { font-size: 1rem; margin-bottom: 0.3rem; }
table { border-collapse: collapse; margin: 0.6rem 0; font-size: 0.87rem; }
th, td { border: 1px solid #ccc; padding: 0.25rem 0.55rem; text-align: left; vertical-align: top; }
th { background: #f1f1f1; }
td:first-child { white-space: nowrap; }
.entries td { overflow-wrap: anywhere; white-space: normal; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.wide { overflow-x: auto; }
img { max-width: 100%; height: auto; }
figure { margin: 0.8rem 0; }
figcaption, .note { color: #555; font-size: 0.87rem; }
.caution { border-left: 4px solid #d55e00; background: #fdf1e7; padding: 0.4rem 0.8rem; }
.signature { display: flex; gap: 2rem; margin-top: 3.5rem; break-inside: avoid; }
.signature div { flex: 1; border-top: 1px solid #1a1a1a; font-size: 0.87rem; }
@media print {
  @page { size: A4; margin: 15mm 15mm 18mm; }
  body { max-width: none; margin: 0; padding: 0; font-size: 9pt; line-height: 1.28; }
  table { font-size: 7.5pt; }
  th, td { padding: 0.08rem 0.35rem; }
  th { white-space: nowrap; }
  .wide th { white-space: normal; }
  .note, figcaption { font-size: 8pt; }
  .signature { margin-top: 2rem; }
  h1 { font-size: 1.35rem; margin-top: 0; }
  h2 { font-size: 1.05rem; margin: 0.6rem 0 0.2rem; }
  p { margin: 0.3rem 0; }
  table { margin: 0.3rem 0; }
  .caution { padding: 0.2rem 0.6rem; font-size: 8.5pt; }
  .wide { overflow: visible; }
  .wide table { width: 100%; }
  .wide td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 16mm; }
  .new-page { break-before: page; }
  thead { display: table-header-group; }
  h2, h3, .note { break-after: avoid; }
  tr, figure, .caution { break-inside: avoid; }
  img { max-height: 108mm; width: auto; }
  th, .caution { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


@dataclass(frozen=True)
class ReportHead:
    """What stands above the results; empty entries are left out.

    Attributes
    ----------
    standard
        The standard the laboratory reports by.
    day
        None means now, with the time.
    laboratory
        Who answers for the results.
    """

    title: str
    specimen: str = ""
    operator: str = ""
    standard: str = ""
    day: date | None = None
    laboratory: str = ""


@dataclass(frozen=True)
class Section:
    """A chapter of a report: its title as text, its body as HTML."""

    title: str
    body: str
    on_new_page: bool = False


def page(head: ReportHead, sections: Iterable[Section]) -> str:
    """A whole HTML page."""
    title = escape(head.title)
    chapters = "".join(map(_chapter, sections))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}{_page_foot(head)}</style></head>\n<body><h1>{title}</h1>"
        f"{entries(head_lines(head))}{chapters}</body></html>\n"
    )


def _chapter(section: Section) -> str:
    start = '<section class="new-page">' if section.on_new_page else "<section>"
    return f"{start}<h2>{escape(section.title)}</h2>{section.body}</section>"


def _page_foot(head: ReportHead) -> str:
    """Every printed page says what it belongs to, and how many there are."""
    parts = (head.title, head.specimen, (head.day or date.today()).isoformat())
    text = "".join(map(_css_sign, " · ".join(part for part in parts if part)))
    return (
        f'@page {{ @bottom-left {{ content: "{text}"; font: 8pt sans-serif; }} @bottom-right '
        '{ content: "page " counter(page) " of " counter(pages); font: 8pt sans-serif; } }\n'
    )


def _css_sign(sign: str) -> str:
    """A character of a CSS string; whatever could end it is written as its number."""
    return sign if sign.isascii() and sign.isalnum() else f"\\{ord(sign):x} "


def table(frame: pd.DataFrame) -> str:
    """An HTML table titled by `heading`; numbers to four digits, missing ones as a dash."""
    titles = "".join(f"<th>{escape(heading(str(name)))}</th>" for name in frame.columns)
    columns = [frame[name].tolist() for name in frame.columns]
    rows = "".join(
        f"<tr>{''.join(map(_table_cell, row))}</tr>" for row in zip(*columns, strict=True)
    )
    return (
        f'<div class="wide"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def tables(frame: pd.DataFrame, keys: Sequence[str]) -> str:
    """A table with many columns as several that fit a page, each with the columns of `keys`."""
    first = [name for name in keys if name in frame]
    rest = [name for name in frame.columns if name not in first]
    parts = [rest[start : start + _MOST_COLUMNS] for start in range(0, len(rest), _MOST_COLUMNS)]
    return "".join(table(frame[[*first, *part]]) for part in parts)


def entries(pairs: Mapping[str, Any]) -> str:
    """A two-column HTML table of names, as `heading` writes them, and values."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(number(value))}</td></tr>"
        for name, value in titled(pairs)
    )
    return (
        f'<table class="entries">{rows}</table>'
        if rows
        else '<p class="note">Nothing is recorded.</p>'
    )


def drawing(figure: Figure, caption: str) -> str:
    """An embedded PNG of a matplotlib figure."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return picture(buffer.getvalue(), caption)


def picture(content: bytes, caption: str, kind: Literal["png", "jpeg"] = "png") -> str:
    """An embedded PNG or JPEG file, with its caption below."""
    text = escape(caption)
    data = base64.b64encode(content).decode()
    return (
        f'<figure><img alt="{text}" src="data:image/{kind};base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def noted(text: str) -> str:
    """A remark as HTML, in small print."""
    return f'<p class="note">{escape(text)}</p>'


def cautions(notes: Iterable[str]) -> str:
    """What the reader should know, each in a box that stands out."""
    return "".join(f'<p class="caution">{escape(note)}</p>' for note in notes)


def listed(names: Sequence[str]) -> str:
    """Names, or the first of many and how many there are."""
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: _MOST_NAMES - 1])} and {len(names) - _MOST_NAMES + 1} more"


def number(value: Any) -> str:
    """A value as a report shows it: four significant digits, a dash for a missing number."""
    if isinstance(value, list):
        return ", ".join(map(number, value)) or "–"
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def titled(pairs: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    """Names, as `heading` writes them, and values; a nested mapping's names follow its own."""
    for name, value in pairs.items():
        if isinstance(value, Mapping):
            yield from titled(value, f"{above}{heading(name)}: ")
        else:
            yield f"{above}{heading(name)}", value


def head_lines(head: ReportHead) -> dict[str, str]:
    """What stands above the results, by its title; empty entries left out."""
    lines = {
        "Specimen": head.specimen,
        "Laboratory": head.laboratory,
        "Operator": head.operator,
        "Standard": head.standard,
        "Date": head.day.isoformat() if head.day else f"{datetime.now():%Y-%m-%d %H:%M}",
        "Software": f"napari-metallography {__version__}",
    }
    return {name: text for name, text in lines.items() if text}


def _table_cell(value: Any) -> str:
    kind = "" if isinstance(value, str) else ' class="number"'
    return f"<td{kind}>{escape(number(value))}</td>"
