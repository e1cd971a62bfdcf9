"""The files of a finished batch: tables over all inputs, and a report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import pandas as pd

from ..errors import InputError
from ..events import Events, Progress
from ..grains.report import report_sections
from ..grains.study import grain_size_of
from ..io.files import write_text, writing
from ..io.tables import write_csv, write_json
from ..quantification.files import MeasuredImage
from ..quantification.measured_files import planes_together
from ..quantification.study_files import REPORT as REPORT
from ..quantification.study_files import STUDY_FILES, StudyParameters, write_study
from ..reports import ReportHead, Section, cautions, noted, page, table
from .journal import alone, read_journal
from .recipe import recipe_text
from .run import Batch
from .stack_labels import write_stack_labels
from .tables import PROBABILITY, TABLE, ItemResult, read_item, tidy_table
from .work import item_folder

_ITEMS = "items.csv"
_GRAIN_SIZE = "grain_size.json"
_CLASSES = {"structure": "classes_structure.csv", "defects": "classes_defects.csv"}
RESULT_FILES = (TABLE, _ITEMS, *STUDY_FILES, _GRAIN_SIZE, *_CLASSES.values())
"""All that `write_results` may write."""

_MOST_PICTURES = 24
"""In a report: more would make a page that no browser likes to open."""
_MOST_LISTED = 200


def write_results(batch: Batch) -> Events[list[str]]:
    """Write what a batch found: `results.csv`, the tables of its steps, and `report.html`.

    With `quantify` phases.csv, particles.csv, statistics.json and study.xlsx; with `grain_size`
    grain_size.json; with the others classes_structure.csv, classes_defects.csv; always items.csv,
    which says how each item ended. What an earlier run wrote is removed first.

    Returns
    -------
    What the user should know, in sentences.

    Raises
    ------
    InputError
        When another run works in the folder, a file cannot be written, or what is done cannot be
        read any more.
    """
    with alone(batch.folder):
        journal = read_journal(batch.folder)
        if journal is None or journal.batch != batch.name:
            raise InputError(f"{batch.folder}: another run began a new batch there meanwhile")
        return (yield from _written(batch))


def _written(batch: Batch) -> Events[list[str]]:
    results = yield from _read(batch)
    with writing(batch.folder):
        for name in RESULT_FILES:
            (batch.folder / name).unlink(missing_ok=True)
    write_csv(batch.folder / _ITEMS, _item_table(batch, results))
    if results:
        yield from _stack_labels(batch)
        write_csv(batch.folder / TABLE, tidy_table(batch, results))
    classes = _write_classes(batch.folder, results)
    before = [Section("Batch", _overview(batch))]
    after = [*_grain_sections(batch, results), *classes, Section("Recipe", _recipe(batch))]
    measured = _images(results)
    head = _head(batch)
    if not measured:
        write_text(batch.folder / REPORT, page(head, [*before, *after]))
        return []
    missing = [item.name for item, _ in batch.failed]
    wanted = batch.recipe.report.wanted_accuracy_percent
    return write_study(
        batch.folder,
        measured,
        head=head,
        parameters=StudyParameters(wanted),
        missing=missing,
        before=before,
        after=after,
    )


def _read(batch: Batch) -> Events[list[ItemResult]]:
    """What was found of each item that is done, with the pictures that the report shows."""
    sources = [*dict.fromkeys(item.source.folder for item in batch.done)]
    shown = {*sources[:_MOST_PICTURES]}
    results = []
    for number, item in enumerate(batch.done):
        yield Progress(number, len(batch.done), "results read")
        is_shown = item.source.folder in shown and item.plane == 0
        one = read_item(batch.folder, item, batch.recipe.steps, with_picture=is_shown)
        results.append(one)
    return results


def _stack_labels(batch: Batch) -> Events[None]:
    if batch.recipe.segment is None:
        return
    for source, group in groupby(batch.done, lambda item: item.source):
        if source.planes > 1:
            yield Progress(0, 0, f"labels of {source.name}")
            write_stack_labels(batch.folder, source, [*group])


def _images(results: Sequence[ItemResult]) -> list[MeasuredImage]:
    """What was measured of each source."""
    groups = groupby(results, lambda one: one.item.source)
    planes = (
        {one.item.plane: one.measured for one in group if one.measured is not None}
        for _, group in groups
    )
    return [planes_together(one) for one in planes if one]


def _grain_sections(batch: Batch, results: Sequence[ItemResult]) -> list[Section]:
    graded = [(one.item, one.graded) for one in results if one.graded is not None]
    if not graded:
        return []
    wanted = batch.recipe.report.wanted_accuracy_percent
    fields = [field for _, field in graded]
    found = grain_size_of(fields, wanted)
    write_json(batch.folder / _GRAIN_SIZE, found)
    pictures = {
        f"{field.name}, {method}": path.read_bytes()
        for item, field in graded[:_MOST_PICTURES]
        for method in field.by_method
        if (path := _picture(batch.folder, item.key, item.source.path, method)).exists()
    }
    return report_sections(found, fields, pictures, wanted, of="Grain size: ", signature="")


def _picture(folder: Path, key: str, source: Path, method: str) -> Path:
    return item_folder(folder, key) / f"{source.stem}_{method}.png"


def _write_classes(folder: Path, results: Sequence[ItemResult]) -> list[Section]:
    sections = []
    for what, name in _CLASSES.items():
        rows = [
            {"image": one.item.source.name, "plane": one.item.plane, **told["row"]}
            for one in results
            if (told := one.told["steps"].get(f"classify_{what}")) is not None
        ]
        if rows:
            frame = pd.DataFrame(rows)
            write_csv(folder / name, frame)
            sections.append(Section(f"Classes: {what}", _classes(frame)))
    return sections


def _classes(frame: pd.DataFrame) -> str:
    counts = frame["answer"].value_counts().rename_axis("answer").reset_index(name="n")
    own = [name for name in frame if not str(name).startswith(PROBABILITY)]
    return table(counts) + table(frame[own].head(_MOST_LISTED)) + _cut(len(frame))


def _cut(count: int) -> str:
    return noted(f"The first {_MOST_LISTED} of {count}.") if count > _MOST_LISTED else ""


def _item_table(batch: Batch, results: Sequence[ItemResult]) -> pd.DataFrame:
    notes = {one.item.key: "; ".join(one.told["notices"]) for one in results}
    rows = [
        {
            "image": item.source.name,
            "plane": item.plane,
            "state": batch.records[item.key].state,
            "why": batch.records[item.key].why,
            "results": f"items/{item.key}" if batch.records[item.key].state == "done" else "",
            "notes": notes.get(item.key, ""),
        }
        for item in batch.items
    ]
    return pd.DataFrame(rows)


def _overview(batch: Batch) -> str:
    said = f"<p>{len(batch.done)} of {len(batch.items)} done.</p>"
    if not batch.failed:
        return said
    rows = [{"image": item.name, "why it failed": why} for item, why in batch.failed]
    frame = pd.DataFrame(rows).head(_MOST_LISTED)
    return said + cautions([_failed_words(len(rows))]) + table(frame) + _cut(len(rows))


def _failed_words(count: int) -> str:
    return f"{count} failed; nothing below counts them. Mend them, then go on with --resume."


def _recipe(batch: Batch) -> str:
    models = [{"model": name, "sha256": sha} for name, sha in batch.run.models.items()]
    known = table(pd.DataFrame(models)) if models else ""
    return f"<pre>{escape(recipe_text(batch.recipe))}</pre>{known}"


def _head(batch: Batch) -> ReportHead:
    step = batch.recipe.report
    return ReportHead(
        step.title,
        step.specimen,
        step.operator,
        step.standard,
        laboratory=step.laboratory,
    )
