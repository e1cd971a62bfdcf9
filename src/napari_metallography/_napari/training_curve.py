"""The live curve of a training: loss, and mean IoU over the held-out labels."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QVBoxLayout, QWidget

from ..classes import PALETTE
from ..events import TrainingStep

_MS_BETWEEN_DRAWINGS = 500
_LEAST_HEIGHT = 180
_FONT = 8
# Can be read on a dark and on a light theme.
_GREY = "#8c8c8c"
_LOSS, _MIOU = PALETTE[2], PALETTE[1]


class TrainingCurve(QWidget):
    """Takes training steps; draws at most twice a second."""

    def __init__(self) -> None:
        super().__init__()
        figure = Figure(layout="constrained", facecolor="none")
        self._canvas = FigureCanvasQTAgg(figure)  # type: ignore[no-untyped-call]
        self._canvas.setStyleSheet("background-color: transparent")
        self._loss = figure.add_subplot()
        self._miou = self._loss.twinx()
        (self._loss_line,) = self._loss.plot([], [], color=_LOSS, linewidth=1.2)
        (self._miou_line,) = self._miou.plot([], [], color=_MIOU, marker="o", markersize=4)
        _dress(self._loss, "loss", _LOSS)
        _dress(self._miou, "held-out mIoU", _MIOU)
        self._loss.set_xlabel("iteration", color=_GREY, fontsize=_FONT)
        self._loss.xaxis.set_major_locator(MaxNLocator(integer=True))
        self._miou.set_ylim(0, 1)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_MS_BETWEEN_DRAWINGS)
        self._timer.timeout.connect(self._draw)
        self.losses: list[tuple[int, float]] = []
        self.mious: list[tuple[int, float]] = []
        QVBoxLayout(self).addWidget(self._canvas)
        self.setMinimumHeight(_LEAST_HEIGHT)

    def clear(self) -> None:
        """Begin anew."""
        self.losses, self.mious = [], []
        self._draw_soon()

    def add(self, step: TrainingStep) -> None:
        """Take a step; one that is not later than the last begins another training."""
        if self.losses and step.iteration <= self.losses[-1][0]:
            self.clear()
        self.losses.append((step.iteration, step.loss))
        if "miou" in step.metrics:
            self.mious.append((step.iteration, step.metrics["miou"]))
        self._draw_soon()

    def _draw_soon(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _draw(self) -> None:
        for line, points in ((self._loss_line, self.losses), (self._miou_line, self.mious)):
            line.set_data([x for x, _ in points], [y for _, y in points])
        self._loss.relim()
        self._loss.autoscale_view()
        self._canvas.draw_idle()  # type: ignore[no-untyped-call]


def as_low_as_possible(dock: QDockWidget) -> None:
    """Leave the height of the window to the image."""
    window = dock.parent()
    if isinstance(window, QMainWindow):
        window.resizeDocks([dock], [_LEAST_HEIGHT], Qt.Orientation.Vertical)


def _dress(axes: Axes, name: str, colour: str) -> None:
    axes.set_facecolor("none")
    axes.set_ylabel(name, color=colour, fontsize=_FONT)
    axes.tick_params(colors=_GREY, labelsize=_FONT)
    for spine in axes.spines.values():
        spine.set_color(_GREY)
