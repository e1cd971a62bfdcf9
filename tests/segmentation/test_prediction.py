import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_metallography.classes import UNLABELLED
from napari_metallography.errors import DeviceError
from napari_metallography.events import Notice, Progress, drain
from napari_metallography.io.images import read_micrograph
from napari_metallography.models.card import Network, Normalisation
from napari_metallography.plane import as_plane
from napari_metallography.regions import Box, Field
from napari_metallography.samples import sample_path
from napari_metallography.segmentation import prediction
from napari_metallography.segmentation.model import load_model
from napari_metallography.segmentation.networks import SegmentationNetwork
from napari_metallography.segmentation.prediction import (
    QUICK,
    PredictionParameters,
    Predictor,
    predict,
)

PLAIN = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
CPU = torch.device("cpu")


class GreyLevels(nn.Module):
    """Knows its class from the pixel alone: below 100, up to 200, above."""

    enlargement = 1.0

    def forward(self, images: Tensor) -> Tensor:
        grey = images[:, 0]
        return torch.stack([100 - grey, 50 - (grey - 150).abs(), grey - 200], 1)


def _predictor(**changes: object) -> Predictor:
    return Predictor(GreyLevels(), PLAIN, 3, CPU, **changes)  # type: ignore[arg-type]


def _quick(**changes: object) -> PredictionParameters:
    return QUICK.model_copy(update=changes)


def _image(rng: np.random.Generator, shape: tuple[int, int] = (700, 900)) -> np.ndarray:
    return rng.choice(np.array([20, 150, 250], np.uint8), shape)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("mode", ["fast", "paper"])
@pytest.mark.parametrize("shape", [(1, 1), (20, 3000), (300, 260), (700, 900)])
def test_every_pixel_gets_its_class(rng, mode: str, shape: tuple[int, int]) -> None:
    image = _image(rng, shape)
    image.flat[0] = 20 if image.flat[-1] != 20 else 150
    plane = prediction_plane(image)
    parameters = _quick(mode=mode, largest_window_area=70_000)
    result = drain(predict(plane, Field(shape), _predictor(parameters=parameters)))
    assert (result.indices == np.searchsorted([100, 200], image)).all()


def prediction_plane(image: np.ndarray):
    from napari_metallography.plane import Plane

    return Plane(image, 0.0, 255.0)


@pytest.mark.parametrize("mode", ["fast", "paper"])
def test_flips_and_scales_leave_uniform_areas_alone(mode: str) -> None:
    image = np.full((400, 500), 20, np.uint8)
    image[100:300, 100:400] = 250
    predictor = _predictor(parameters=PredictionParameters(mode=mode))
    result = drain(predict(as_plane(image), Field(image.shape), predictor))
    inside = np.zeros(image.shape, bool)
    inside[110:290, 110:390] = True
    assert (result.indices[inside] == 2).all()
    assert (result.indices[:90] == 0).all()


def test_data_bar_and_outside_of_the_region_stay_unlabelled(rng) -> None:
    image = _image(rng)
    field = Field(image.shape, Box(650, 0, 700, 900), (((100, 100), (100, 500), (400, 500)),))
    result = drain(
        predict(
            as_plane(image),
            field,
            _predictor(parameters=_quick(largest_window_area=70_000)),
        )
    )
    inside = field.mask()
    assert (result.indices[~inside] == UNLABELLED).all()
    assert (result.indices[inside] == np.searchsorted([100, 200], image[inside])).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_data_bar_does_not_change_what_lies_above_it(rng, dtype: type) -> None:
    network = SegmentationNetwork(Network(architecture="unet", encoder="efficientnet-lite0"), 3)
    predictor = Predictor(network, PLAIN, 3, CPU)
    image = rng.integers(40, 200, (160, 200)).astype(dtype)
    bar = np.zeros((30, 200), dtype)
    bar[10:20, ::5] = 255
    barred = np.vstack([image, bar])
    with_bar = Field(barred.shape, Box(160, 0, 190, 200))
    alone = drain(predict(as_plane(image), Field(image.shape), predictor))
    above = drain(predict(as_plane(barred, measured=with_bar), with_bar, predictor))
    assert (above.indices[:160] == alone.indices).all()


def test_uncertainty_is_zero_where_sure_and_full_where_undecided() -> None:
    image = np.full((64, 64), 100, np.uint8)
    image[:32] = 0

    class Coin(nn.Module):
        enlargement = 1.0

        def forward(self, images: Tensor) -> Tensor:
            sure = 1000 - 10 * images[:, 0]
            return torch.stack([sure, torch.zeros_like(sure)], 1)

    predictor = Predictor(Coin(), PLAIN, 2, CPU)  # type: ignore[arg-type]
    events = predict(
        as_plane(image),
        Field(image.shape),
        predictor,
        with_uncertainty=True,
    )
    uncertainty = drain(events).uncertainty
    assert uncertainty is not None
    assert (uncertainty[:32] == 0).all()
    assert (uncertainty[32:] == 255).all()


@pytest.mark.parametrize("mode", ["fast", "paper"])
def test_the_probability_of_a_class_is_that_of_its_logits(rng, mode: str) -> None:
    image = rng.integers(140, 160, (300, 400)).astype(np.uint8)
    field = Field(image.shape, Box(280, 0, 300, 400), (((20, 20), (20, 300), (250, 300)),))
    parameters = _quick(mode=mode, largest_window_area=70_000)
    found = drain(
        predict(prediction_plane(image), field, _predictor(parameters=parameters), probability_of=1)
    )
    logits = GreyLevels()(torch.from_numpy(image).float()[None, None])[0]
    assert found.probability is not None
    assert found.probability.dtype == np.float32
    inside = field.mask()
    np.testing.assert_allclose(
        found.probability[inside], logits.softmax(0)[1].numpy()[inside], atol=1e-5
    )
    assert (found.probability[~inside] == 0).all()
    assert found.uncertainty is None


def test_progress_ends_at_its_total(rng) -> None:
    image = _image(rng)
    seen: list[Progress] = []
    events = predict(
        as_plane(image),
        Field(image.shape),
        _predictor(parameters=_quick(largest_window_area=70_000)),
    )
    drain(events, lambda event: seen.append(event) if isinstance(event, Progress) else None)
    assert [event.done for event in seen] == sorted(event.done for event in seen)
    assert seen[0].done == 0
    assert seen[-1].done == seen[-1].total > 4


class Hungry(GreyLevels):
    """Runs out of memory above a number of pixels."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-2] * images.shape[-1] > self.limit:
            torch.empty(10**15)
        return super().forward(images)


def test_smaller_windows_are_tried_when_memory_runs_out(rng) -> None:
    image = _image(rng)
    notices: list[str] = []
    predictor = Predictor(Hungry(250_000), PLAIN, 3, CPU)  # type: ignore[arg-type]
    events = predict(as_plane(image), Field(image.shape), predictor)
    result = drain(events, lambda e: notices.append(e.message) if isinstance(e, Notice) else None)
    assert notices
    assert result.largest_window_area <= 250_000
    assert (result.indices == np.searchsorted([100, 200], image)).all()


def test_fewer_windows_at_a_time_are_tried_in_paper_mode(rng) -> None:
    class Crowded(GreyLevels):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 2:
                torch.empty(10**15)
            return super().forward(images)

    image = _image(rng)
    notices: list[str] = []
    parameters = _quick(mode="paper")
    predictor = Predictor(Crowded(), PLAIN, 3, CPU, parameters)  # type: ignore[arg-type]
    events = predict(as_plane(image), Field(image.shape), predictor)
    result = drain(events, lambda e: notices.append(e.message) if isinstance(e, Notice) else None)
    assert [notice[-11:] for notice in notices] == ["4 at a time", "2 at a time"]
    assert result.largest_window_area == 256 * 256
    assert (result.indices == np.searchsorted([100, 200], image)).all()


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0])
def test_a_network_that_sees_the_image_reduced_gets_a_wider_halo(factor: float) -> None:
    predictor = Predictor(GreyLevels(), PLAIN, 3, CPU, QUICK, factor)  # type: ignore[arg-type]
    (row,) = prediction._windows(Box(0, 0, 300, 4000), predictor, 700_000)
    first, second = row[:2]
    reach = 64 / min(1.0, factor)
    assert reach <= first.seen.right - first.used.right < reach + 64 / factor
    assert second.used.left - second.seen.left >= reach
    assert second.seen.left % (32 / min(1.0, factor)) == 0


def test_a_device_without_memory_is_reported(rng) -> None:
    predictor = Predictor(Hungry(64 * 64), PLAIN, 3, CPU)  # type: ignore[arg-type]
    image = _image(rng)
    with pytest.raises(DeviceError, match="memory"):
        drain(predict(as_plane(image), Field(image.shape), predictor))


def test_closing_the_generator_stops_it(rng) -> None:
    image = _image(rng)
    events = predict(
        as_plane(image),
        Field(image.shape),
        _predictor(parameters=_quick(largest_window_area=70_000)),
    )
    next(events)
    events.close()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("chunks", [(64, 900), (700, 33), (700, 900)])
def test_the_result_does_not_depend_on_block_layout(rng, chunks: tuple[int, int]) -> None:
    da = pytest.importorskip("dask.array")
    image = _image(rng)
    parameters = _quick(largest_window_area=70_000)
    plain = drain(predict(as_plane(image), Field(image.shape), _predictor(parameters=parameters)))
    blocks = da.from_array(image, chunks=chunks)
    blocked = drain(
        predict(as_plane(blocks), Field(image.shape), _predictor(parameters=parameters))
    )
    assert (plain.indices == blocked.indices).all()


def test_memory_for_a_window_is_a_stable_choice(monkeypatch) -> None:
    for free in (2 << 30, 3 << 30):
        monkeypatch.setattr(prediction, "free_memory", lambda device, free=free: free)
        area = prediction._affordable_area(_predictor())
        assert area * prediction._BYTES_PER_PIXEL <= free // 2


def test_uncertainty_is_zero_outside_the_field(rng) -> None:
    image = _image(rng)
    field = Field(image.shape, None, (((10, 10), (10, 60), (60, 60)),))
    parameters = _quick(largest_window_area=70_000)
    events = predict(
        as_plane(image), field, _predictor(parameters=parameters), with_uncertainty=True
    )
    uncertainty = drain(events).uncertainty
    assert uncertainty is not None
    assert (uncertainty[~field.mask()] == 0).all()


def test_smaller_windows_hardly_change_the_shipped_models_result() -> None:
    model = load_model("uhcs-carbides")
    network, normalisation, classes = model.network, model.card.normalisation, model.card.classes
    pixels = read_micrograph(sample_path("uhcs1061")).pixels
    results = [
        drain(
            predict(
                as_plane(pixels),
                Field(pixels.shape),
                Predictor(
                    network,
                    normalisation,
                    len(classes),
                    CPU,
                    _quick(largest_window_area=area),
                ),
            )
        ).indices
        for area in (1_750_000, 160_000)
    ]
    assert (results[0] != results[1]).mean() < 0.01
