from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.classification import saliency
from napari_metallography.classification.crops import Crops
from napari_metallography.classification.saliency import (
    Saliency,
    saliency_map,
    window_starts,
)
from napari_metallography.classification.structure import plane_reader
from napari_metallography.classification.structure_model import StructureModel, StructureNetwork
from napari_metallography.classification.structure_parameters import SaliencyParameters
from napari_metallography.errors import DeviceError, InputError
from napari_metallography.events import Notice, Progress, drain
from napari_metallography.models.card import (
    DataSource,
    ModelCard,
    Network,
    Normalisation,
    StructureInput,
)

CPU = torch.device("cpu")
SIZE = Calibration.square(0.1, "test")


def _two_halves(rows: int = 128, columns: int = 256) -> np.ndarray:
    """Dark noise, fine stripes in the right half."""
    image = np.random.default_rng(0).normal(80, 10, (rows, columns))
    image[:, columns // 2 :] += 90 * (np.arange(columns - columns // 2) % 8 < 4)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture
def model() -> Callable[..., StructureModel]:
    """Makes a network of random weights whose two Gaussians lie on either half of the image."""

    def make(**shown: Any) -> StructureModel:
        torch.manual_seed(0)
        stated = {"side": 64, "smallest_px": 32, "largest_px": 128, "px_per_um": (2.0, 40.0)}
        card = ModelCard(
            name="random",
            task="structure",
            network=Network(architecture="triplets", encoder="resnet18"),
            classes=named_classes(("noise", "stripes")),
            structure=StructureInput(**{**stated, **shown}),
            pixel_size_um=(0.04, 0.4),
            normalisation=Normalisation(mean=(100, 100, 100), std=(50, 50, 50)),
            data=DataSource(name="none", digest="0"),
        )
        assert card.structure is not None
        made = StructureModel(card, StructureNetwork(2, card.structure).eval(), "0")
        descriptors = _one_by_one(made, [(32, 0), (32, 40), (32, 150), (32, 190)])
        made.network.gaussians.means = torch.stack(
            [descriptors[:2].mean(0), descriptors[2:].mean(0)]
        )
        apart = float((descriptors[0] - descriptors[3]).norm())
        made.network.gaussians.covariances = (apart / 6) ** 2 * torch.eye(2).repeat(2, 1, 1)
        return made

    return make


def _one_by_one(
    model: StructureModel, starts: list[tuple[float, float]], window: float = 64
) -> torch.Tensor:
    """Descriptors of windows of the image that go through the network by themselves."""
    reader = plane_reader(_two_halves(), SIZE, model, CPU, "image")
    count = len(starts)
    still = torch.zeros(count)
    sides = torch.full((count,), window)
    crops = Crops(
        still.long(),
        torch.tensor(starts, dtype=torch.float32) + window / 2,
        sides,
        still,
        still.bool(),
    )
    with torch.no_grad():
        pixels = reader.normalised(reader.atlas.cut(crops, model.shown.side))
        found: torch.Tensor = model.network(pixels, reader.magnifications(still.long(), sides))
    return found


def _map(model: StructureModel, plane: np.ndarray, **parameters: Any) -> Saliency:
    calibration = parameters.pop("calibration", SIZE)
    wanted = SaliencyParameters(**{"window_px": 64, "stride_px": 16, **parameters})
    return drain(saliency_map(plane, calibration, model, CPU, wanted))


def test_windows_share_what_they_would_see_by_themselves(model, monkeypatch) -> None:
    made = model()
    monkeypatch.setattr(saliency, "_ALONE", 16)
    plane = _two_halves()
    found = _map(made, plane)
    assert found.windows.shape == (5, 13, 3)
    starts = [(y, x) for y in found.tops for x in found.lefts]
    expected = made.network.gaussians.probabilities(_one_by_one(made, starts)).numpy()
    agreed = found.windows.reshape(-1, 3).argmax(1) == expected.argmax(1)
    assert agreed.mean() >= 0.9
    assert {*expected.argmax(1)} >= {0, 1}


def test_what_lies_around_windows_is_taken_off(model, monkeypatch) -> None:
    made = model()
    monkeypatch.setattr(saliency, "_ALONE", 16)
    corrected = saliency._corrected
    apart = {}

    def judged(pooled: torch.Tensor, passes: Any) -> torch.Tensor:
        reader = passes.reader
        with torch.no_grad():
            pixels = reader.atlas.cut(passes.crops(passes.places), reader.shown.side)
            stages = saliency._first_stages(passes.encoder, reader.normalised(pixels))
            alone = saliency._last_stage(passes.encoder, stages)
        found = corrected(pooled, passes)
        apart["without"], apart["with"] = (
            float((one - alone).norm() / (alone - alone.mean(0)).norm()) for one in (pooled, found)
        )
        return found

    monkeypatch.setattr(saliency, "_corrected", judged)
    _map(made, _two_halves())
    assert apart["without"] > 0.2
    assert apart["with"] < 0.5 * apart["without"]


def test_windows_that_enlarge_an_image_too_much_are_refused(model, monkeypatch) -> None:
    # 128 × 256 px, shown at 64 px a window: as many pixels as allowed with windows of 64 px.
    monkeypatch.setattr(saliency, "_MOST_PX", 128 * 256)
    _map(model(), _two_halves(), stride_px=64)
    with pytest.raises(InputError, match="choose windows of 64 px or more"):
        _map(model(), _two_halves(), window_px=60)


def test_memory_that_is_refused_is_an_error_of_the_device(model, monkeypatch) -> None:
    def refused(*_: Any, **__: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    made = model()
    monkeypatch.setattr(torch, "empty", refused)
    with pytest.raises(DeviceError):
        _map(made, _two_halves())


def test_a_picture_is_coloured_by_class_and_dark_where_there_is_none(model) -> None:
    made = model()
    found = _map(made, _two_halves())
    labels = found.labels()
    assert (labels[:, :40] == 0).mean() > 0.9
    assert (labels[:, -40:] == 1).mean() > 0.9
    picture = found.picture(made.card.classes)
    assert picture.shape == (128, 256, 3)
    bright = found.probabilities()[2] == 0
    colours = np.array([one.rgb for one in made.card.classes])
    assert (picture[bright] == colours[found.probabilities()[:2].argmax(0)[bright]]).all()
    made.network.gaussians.threshold = torch.tensor([1e9])
    nothing = _map(made, _two_halves())
    assert (nothing.labels() == 255).all()
    assert not nothing.picture(made.card.classes).any()


def test_results_do_not_depend_on_parts_and_groups(model, monkeypatch) -> None:
    made, plane = model(), _two_halves(200, 328)
    one = _map(made, plane)
    monkeypatch.setattr(saliency, "_TILE", 8)
    monkeypatch.setattr(saliency, "_BATCH", 5)
    monkeypatch.setattr(saliency, "_ROWS", 7)
    other = _map(made, plane)
    assert other.windows == pytest.approx(one.windows, abs=1e-3)
    assert (other.labels() == one.labels()).mean() > 0.999


def test_a_rescaled_image_with_a_rescaled_pixel_size_has_the_same_map(model) -> None:
    made, plane = model(), _two_halves()
    one = _map(made, plane)
    larger = np.kron(plane, np.ones((2, 2), np.uint8))
    half = Calibration.square(0.05, "test")
    other = _map(made, larger, window_px=128, stride_px=32, calibration=half)
    assert (other.windows.argmax(2) == one.windows.argmax(2)).mean() > 0.9


def test_the_default_window_is_of_a_magnification_the_model_knows(model) -> None:
    plane = _two_halves()
    # Twice the smallest crop: 10 px/µm as shown.
    assert _map(model(), plane, window_px=None).window_px == 64
    # Side 64 of windows of 80 px and more are 8 px/µm and less.
    assert _map(model(px_per_um=(2.0, 8.0)), plane, window_px=None).window_px == pytest.approx(80)
    assert _map(model(px_per_um=(16.0, 20.0)), plane, window_px=None).window_px == pytest.approx(40)
    # No larger than the image.
    assert _map(model(px_per_um=(2.0, 3.0)), plane, window_px=None).window_px == 128


def test_other_magnifications_are_told(model) -> None:
    said: list[str] = []
    far = Calibration.square(4.0, "test")
    events = saliency_map(_two_halves(), far, model(), CPU)
    drain(events, lambda e: said.append(e.message) if isinstance(e, Notice) else None)
    assert "100% of its windows are at magnifications the model was not trained on" in said[0]


def test_progress_ends_at_its_total_and_closing_stops(model) -> None:
    steps: list[Progress] = []
    events = saliency_map(_two_halves(), SIZE, model(), CPU, SaliencyParameters(stride_px=32))
    drain(events, lambda e: steps.append(e) if isinstance(e, Progress) else None)
    assert [one.done for one in steps] == list(range(steps[0].total + 1))
    stopped = saliency_map(_two_halves(), SIZE, model(), CPU)
    next(stopped)
    stopped.close()


def test_bad_input_is_one_line(model) -> None:
    plane = _two_halves()
    with pytest.raises(InputError, match="windows of 200 px do not fit into 256 × 128 px"):
        _map(model(), plane, window_px=200)
    with pytest.raises(InputError, match="leave gaps; choose a smaller stride"):
        _map(model(), plane, window_px=32, stride_px=33)
    with pytest.raises(InputError, match="no pixel size is known"):
        _map(model(), plane, calibration=None)
    with pytest.raises(InputError, match="fewer than the smallest crop"):
        _map(model(), plane[:20])
    free = model(magnification=False, px_per_um=None)
    assert _map(free, plane, calibration=None).windows.shape == (5, 13, 3)


@given(st.integers(16, 3000), st.floats(16, 500), st.floats(1, 500))
def test_windows_reach_from_edge_to_edge(length, window, stride) -> None:
    window, stride = min(window, length), min(stride, window, length)
    starts = window_starts(length, window, stride)
    assert starts[0] == 0
    assert starts[-1] + window == pytest.approx(length)
    assert (np.diff(starts) <= stride * (1 + 1e-9)).all()


@given(
    st.integers(1, 5), st.integers(1, 5), st.floats(16, 40), st.integers(40, 90), st.integers(0, 9)
)
def test_pixels_have_the_mean_of_the_windows_that_hold_them(rows, columns, window, side, seed):
    random = np.random.default_rng(seed)
    windows = random.dirichlet((1, 1, 1), (rows, columns))
    starts = [np.linspace(0, side - window, n) if n > 1 else np.zeros(1) for n in (rows, columns)]
    shape = [side if n > 1 else int(window) for n in (rows, columns)]
    if any(n > 1 and (side - window) / (n - 1) > window for n in (rows, columns)):
        return
    found = Saliency(windows, *starts, window, (shape[0], shape[1])).probabilities()
    assert found.sum(0) == pytest.approx(1)
    y, x = (int(random.integers(n)) for n in shape)
    (down, along) = (
        (s <= at + 0.5) & (at + 0.5 <= s + window) for s, at in zip(starts, (y, x), strict=True)
    )
    assert found[:, y, x] == pytest.approx(windows[np.ix_(down, along)].mean((0, 1)))
