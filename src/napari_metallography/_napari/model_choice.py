"""A choice among shipped models, the user's own, and files; with the model's card to read."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any
from weakref import WeakSet

from magicgui.widgets import ComboBox, Label, Widget
from napari.utils.notifications import show_error
from qtpy.compat import isalive
from qtpy.QtWidgets import QFileDialog

from ..calibration import Calibration
from ..errors import InputError
from ..models import registry
from ..models.card import ModelCard, Task
from ..models.file import read_card
from .form import wrap

_FILE = "file…"
_NONE = "none installed"
_MOST = 12


class ModelChoice:
    """A combo box of models for a task, or for any of some, and the chosen one's card: `widgets`.

    `value` is the model's name or the path of its file, as `models.registry.model_path` takes.

    Parameters
    ----------
    phase
        Name of a class that a model must have to be offered; "" for any.
    otherwise
        How to get a model, told where there is none to choose.
    """

    def __init__(
        self,
        task: Task | tuple[Task, ...],
        default: str = "",
        *,
        label: str = "Model",
        phase: str = "",
        otherwise: str = "",
    ) -> None:
        self._tasks = (task,) if isinstance(task, str) else task
        self._phase = phase
        self._otherwise = otherwise
        self._files: list[str] = []
        self._seen: object = None
        self._names: list[str] = []
        self.combo = ComboBox(choices=self._offered, label=label)
        self.card = Label(value="", label="")
        wrap(self.card)
        self.widgets: list[Widget] = [self.combo, self.card]
        self.combo.changed.connect(self._chosen)
        self.choose(default)
        self._show_card()
        _open.add(self)

    @property
    def value(self) -> str:
        """Name or file of the chosen model; `InputError` when there is none."""
        if not self.is_chosen:
            raise InputError("choose a model, or train one first")
        return str(self.combo.value)

    @property
    def is_chosen(self) -> bool:
        """Whether there is a model to choose, and one is chosen."""
        return self.combo.value not in (None, "", _FILE)

    def choose(self, name_or_file: str) -> None:
        """Choose a model; a file joins the choices, an unknown name changes nothing."""
        if Path(name_or_file).is_file() and name_or_file not in self._files:
            self._files.append(name_or_file)
            self.combo.reset_choices()
        if name_or_file in self.combo.choices:
            self.combo.value = name_or_file

    def offer(self, path: Path) -> None:
        """Offer a new model; one that lies among the user's own goes by its name."""
        known = path in registry.model_paths().values() or str(path) in self._files
        if not known and self._suits(read_card(path)):
            self._files.append(str(path))
        self.combo.reset_choices()

    def chosen_card(self) -> ModelCard | None:
        """The chosen model's card; None when there is none to read."""
        try:
            return read_card(registry.model_path(self.value))
        except InputError:
            return None

    def _offered(self, _: object) -> list[tuple[str, str]]:
        names = self._installed() + self._files
        if not names:
            return [(_NONE, ""), (_FILE, _FILE)]
        return [(Path(name).name, name) for name in names] + [(_FILE, _FILE)]

    def _installed(self) -> list[str]:
        """Names of installed models; cards are read again only when files changed."""
        seen = [(p, _changed_at(p)) for p in registry.model_paths().values()]
        if seen != self._seen:
            cards = registry.cards()
            self._seen = seen
            self._names = [name for name, card in cards.items() if self._suits(card)]
        return self._names

    def _suits(self, card: ModelCard) -> bool:
        names = [phase.name for phase in card.classes]
        return card.task in self._tasks and self._phase in ("", *names)

    def _chosen(self, value: Any) -> None:
        if value == _FILE:
            self._ask_for_file()
        self._show_card()

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self.combo.native, "Choose a model", "", "Models (*.safetensors)"
        )
        try:
            if path:
                self._require_suitable(Path(path))
                self.choose(path)
                return
        except InputError as error:
            show_error(str(error))
        self.combo.value = self.combo.choices[0]

    def _require_suitable(self, path: Path) -> None:
        card = read_card(path)
        if card.task not in self._tasks:
            wanted = " or ".join(self._tasks)
            raise InputError(f"{path}: a model for {card.task}, not for {wanted}")
        if not self._suits(card):
            raise InputError(f'{path}: has no class "{self._phase}"; choose another model')

    def _show_card(self) -> None:
        card = self.chosen_card()
        otherwise = "" if self.is_chosen else self._otherwise
        self.card.value = card_html(card) if card else otherwise


def _changed_at(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        # A broken link, or a folder that is away: its models are not offered.
        return None


_open: WeakSet[ModelChoice] = WeakSet()


def offer_everywhere(path: Path) -> None:
    """Offer a new model in every form that is open."""
    for choice in list(_open):
        if isalive(choice.combo.native):  # type: ignore[no-untyped-call]
            choice.offer(path)


def model_file(asked: Path, own: Path) -> Path:
    """The file of a model; among the user's own each has a folder, which holds its history."""
    path = asked if asked.suffix == ".safetensors" else asked.with_name(f"{asked.name}.safetensors")
    return own / path.stem / path.name if path.parent == own else path


def card_html(card: ModelCard) -> str:
    """A model's card for people, a line a matter."""
    matters = {
        "Classes" if card.task in ("defects", "structure", "few-shot") else "Phases": ", ".join(
            _coloured(c.name, c.colour) for c in card.classes
        ),
        "Pixel size": _pixel_sizes(card),
        "Trained on": escape(f"{card.data.name} ({_images(card)})"),
        "Rounds": _rounds(card),
        "Quality": "<br>".join(_metric(*item) for item in list(card.metrics.items())[:_MOST]),
        "Licence": escape(" · ".join(t for t in (card.data.licence, card.data.attribution) if t)),
        "Note": escape(card.notice),
    }
    rows = (f"<b>{title}:</b> {text}" for title, text in matters.items() if text)
    return "<br>".join(rows)


def reliable_html(card: ModelCard, calibration: Calibration | None, resample: bool) -> str:
    """From which diameter particles of each class but the matrix are found, a line a size.

    Parameters
    ----------
    calibration
        Of the image; sizes are in µm too when it is known.
    resample
        Whether the image is brought to the trained pixel sizes: sizes then are those before.
    """
    # It needs torch, which forms without particles do without until they compute.
    from ..segmentation.model import resampling_factor

    size_um = calibration.mean_um if calibration else None
    factor = resampling_factor(card, size_um) if resample and size_um else 1.0
    sizes = {name: _diameter(px / factor, size_um) for name, px in card.good_from_px.items()}
    names = [phase.name for phase in card.classes[1:]]
    lines = [f"{escape(name)}: {sizes[name]}" for name in names if name in sizes]
    others = [escape(name) for name in names if name not in sizes]
    return "<br>".join([*lines, *([f"{', '.join(others)}: not known"] if others else [])])


def _diameter(px: float, size_um: float | None) -> str:
    return f"{px:.3g} px" + (f" ({px * size_um:.3g} µm)" if size_um else "")


def _images(card: ModelCard) -> str:
    count = len(card.data.images)
    return f"{count} image{'s' * (count != 1)}"


def _coloured(name: str, colour: str) -> str:
    return f'<span style="color:{colour}">■</span> {escape(name)}'


def _pixel_sizes(card: ModelCard) -> str:
    if card.pixel_size_um is None:
        return "any (none was known in training)"
    return "{:.3g} to {:.3g} µm in training".format(*card.pixel_size_um)


def _rounds(card: ModelCard) -> str:
    """Iterations and painted pixels of each round, where there were several."""
    if len(card.rounds) < 2:
        return ""
    return "; ".join(f"{one.iterations} it. on {one.painted_px:,} px" for one in card.rounds)


def _metric(name: str, value: float) -> str:
    text = escape(name.replace("_", " ").replace("miou", "mIoU").replace("iou", "IoU"))
    return f"{text} {value:.3g}"
