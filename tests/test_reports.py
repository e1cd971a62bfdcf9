from __future__ import annotations

import pandas as pd
import pytest

from napari_metallography.reports import ReportHead, Section, entries, number, page, table, tables


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.123456, "0.1235"),
        (123456.7, "123457"),
        (1.5e-7, "1.5e-07"),
        (20000, "20000"),
        (float("nan"), "–"),
        (None, "–"),
        (True, "True"),
    ],
)
def test_numbers_are_shown_to_four_digits(value, shown):
    assert number(value) == shown


def test_wide_tables_are_parted_to_fit_a_page():
    frame = pd.DataFrame([range(20)], columns=[f"c{n}" for n in range(20)]).assign(phase="carbide")
    parts = tables(frame, ["phase"]).split("</table>")[:-1]
    assert len(parts) == 4
    assert all("<th>phase</th>" in part for part in parts)
    assert sum(part.count("<th>c") for part in parts) == 20


def test_a_page_has_its_sections_in_order_and_nothing_a_user_writes_is_html():
    head = ReportHead("<Grains>", specimen="a & b")
    text = page(head, [Section("One <1>", "<p>first</p>"), Section("Two", "<p>second</p>", True)])
    assert "<h1>&lt;Grains&gt;</h1>" in text
    assert "a &amp; b" in text
    assert text.index("<h2>One &lt;1&gt;</h2><p>first</p>") < text.index("<p>second</p>")
    assert text.count('<section class="new-page">') == 1


def test_tables_have_titles_and_numbers_apart_from_texts():
    text = table(pd.DataFrame({"phase": ["<b>"], "area_fraction": [0.12345]}))
    assert "<td>&lt;b&gt;</td>" in text
    assert '<td class="number">0.1235</td>' in text


def test_entries_of_entries_are_named_after_both():
    assert "<th>calibration: source</th>" in entries({"calibration": {"source": "bar"}})
    assert "Nothing is recorded" in entries({})
