from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.measure import label

from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.errors import InputError
from napari_metallography.evaluation.segmentation import (
    ImageScore,
    evaluate,
    score_image,
    summary,
)
from napari_metallography.events import Event, Notice, Progress, drain
from napari_metallography.labelled import LabelledImage
from napari_metallography.regions import Box, Field
from napari_metallography.segmentation.model import SegmentationModel
from napari_metallography.segmentation.prediction import PredictionParameters
from napari_metallography.segmentation.segment import SegmentParameters, segment

PHASES = named_classes(["matrix", "carbide", "ferrite"])
QUICK = SegmentParameters(device="cpu", prediction=PredictionParameters(flips=False, scales=(1.0,)))
Indices = NDArray[np.uint8]

indices = arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 2, UNLABELLED]))


def _squares(*squares: tuple[int, int, int], shape: tuple[int, int] = (60, 80)) -> Indices:
    """Matrix with squares of class 1 as (top, left, side)."""
    truth = np.zeros(shape, np.uint8)
    for top, left, side in squares:
        truth[top : top + side, left : left + side] = 1
    return truth


def _scored(truth: Indices, guess: Indices, size: float | None = None) -> ImageScore:
    return score_image("steel", truth, guess, len(PHASES), size)


def _ious(truths: Sequence[Indices], guesses: Sequence[Indices]) -> dict[str, float | None]:
    """IoU by class over all known pixels, counted with masks."""
    truth, guess = (
        np.concatenate([*map(np.ravel, truths)]),
        np.concatenate([*map(np.ravel, guesses)]),
    )
    known = (truth != UNLABELLED) & (guess != UNLABELLED)
    result: dict[str, float | None] = {}
    for index, phase in enumerate(PHASES):
        both = (truth == index) & (guess == index) & known
        either = ((truth == index) | (guess == index)) & known
        result[phase.name] = both.sum() / either.sum() if either.any() else None
    return result


def _count(mask: NDArray[np.bool_]) -> int:
    return int(label(mask, connectivity=2).max())


@given(st.lists(st.tuples(indices, indices), min_size=1, max_size=3))
def test_scores_are_pooled_over_the_images(pairs: list[tuple[Indices, Indices]]) -> None:
    result = summary([_scored(*pair) for pair in pairs], PHASES)
    truths, guesses = zip(*pairs, strict=True)
    expected = _ious(truths, guesses)
    assert result["iou"] == pytest.approx(expected)
    present = [iou for iou in expected.values() if iou is not None]
    assert result["miou"] == pytest.approx(np.mean(present) if present else np.nan, nan_ok=True)
    assert result["absent_classes"] == [name for name, iou in expected.items() if iou is None]
    assert result["n_images"] == len(pairs)
    for index in (1, 2):
        known = [(t != UNLABELLED) & (g != UNLABELLED) for t, g in pairs]
        true = sum(_count((t == index) & k) for t, k in zip(truths, known, strict=True))
        predicted = sum(_count((g == index) & k) for g, k in zip(guesses, known, strict=True))
        particles = result["particles"][PHASES[index].name]
        assert (particles["n_true"], particles["n_predicted"]) == (true, predicted)
        assert particles["count_error"] == predicted - true


@given(indices, indices)
def test_the_order_of_the_images_does_not_matter(truth: Indices, guess: Indices) -> None:
    scores = [_scored(truth, guess, 0.5), _scored(guess, truth, 0.25)]
    one, other = summary(scores, PHASES), summary(scores[::-1], PHASES)
    for key in ("iou", "confusion", "absent_classes"):
        assert one[key] == other[key]
    for key in ("precision", "recall", "mean_radius_error_um"):
        expected = pytest.approx(other["particles"]["carbide"][key])
        assert one["particles"]["carbide"][key] == expected


def test_scores_of_squares_by_hand() -> None:
    # Kept, shifted by 2 of 10 (IoU 80/120), shifted by 4 (60/140), lost; and one invented.
    truth = _squares((2, 2, 10), (2, 22, 10), (2, 42, 10), (40, 2, 5))
    guess = _squares((2, 2, 10), (2, 24, 10), (2, 46, 10), (40, 60, 8))
    result = summary([_scored(truth, guess, 0.5)], PHASES)
    true, predicted, both = 3 * 100 + 25, 3 * 100 + 64, 100 + 80 + 60
    assert result["iou"]["carbide"] == pytest.approx(both / (true + predicted - both))
    wrong = true + predicted - 2 * both
    assert result["accuracy"] == pytest.approx(1 - wrong / truth.size)
    assert result["iou"]["ferrite"] is None
    assert result["absent_classes"] == ["ferrite"]
    assert result["confusion"][1] == [true - both, both, 0]
    carbide = result["particles"]["carbide"]
    assert (carbide["n_true"], carbide["n_predicted"], carbide["count_error"]) == (4, 4, 0)
    assert carbide["precision"] == carbide["recall"] == 2 / 4
    error = ((30 + 8) / 4 - (30 + 5) / 4) / np.sqrt(np.pi)
    assert carbide["mean_radius_error_px"] == pytest.approx(error)
    assert carbide["mean_radius_error_um"] == pytest.approx(0.5 * error)
    assert [(row["from_px"], row["n"], row["found"]) for row in carbide["found_by_diameter"]] == [
        (4, 1, 0),
        (8, 3, pytest.approx(2 / 3)),
    ]
    assert "matrix" not in result["particles"]


def test_micrometres_count_each_particle_at_its_images_pixel_size() -> None:
    truths = [_squares((2, 2, 10), (30, 30, 6)), _squares((5, 5, 12))]
    guesses = [_squares((2, 2, 8), (30, 30, 6)), _squares((5, 5, 9), (40, 40, 3))]
    scores = [_scored(*pair) for pair in zip(truths, guesses, (0.1, 0.4), strict=True)]
    carbide = summary(scores, PHASES)["particles"]["carbide"]
    true = np.mean([10 * 0.1, 6 * 0.1, 12 * 0.4]) / np.sqrt(np.pi)
    predicted = np.mean([8 * 0.1, 6 * 0.1, 9 * 0.4, 3 * 0.4]) / np.sqrt(np.pi)
    assert carbide["mean_radius_error_um"] == pytest.approx(predicted - true)
    assert carbide["count_error"] == 1


def test_one_unknown_pixel_size_leaves_the_error_in_pixels_alone() -> None:
    truth, guess = _squares((2, 2, 10)), _squares((2, 2, 8))
    scores = [_scored(truth, guess, 0.5), _scored(truth, guess, None)]
    carbide = summary(scores, PHASES)["particles"]["carbide"]
    assert carbide["mean_radius_error_um"] is None
    assert carbide["mean_radius_error_px"] == pytest.approx(-2 / np.sqrt(np.pi))


def test_without_particles_there_is_no_radius_error() -> None:
    carbide = summary([_scored(_squares((2, 2, 9)), _squares(), 0.5)], PHASES)["particles"][
        "carbide"
    ]
    assert carbide["mean_radius_error_um"] is None
    assert carbide["precision"] is None
    assert carbide["recall"] == 0
    assert carbide["count_error"] == -1


def test_a_prediction_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"steel: prediction \(60, 80\) and truth \(5, 5\)"):
        _scored(np.zeros((5, 5), np.uint8), _squares())


@pytest.fixture(scope="module")
def model(untrained) -> SegmentationModel:
    """A network of random weights that was trained, so its card says, on 0.2 to 0.6 µm."""
    return untrained([phase.name for phase in PHASES], pixel_size_um=(0.2, 0.6))


def _micrograph(seed: int, shape: tuple[int, int] = (64, 96)) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    grey = np.kron(rng.integers(0, 255, (shape[0] // 8, shape[1] // 8)), np.ones((8, 8)))
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _predicted(model: SegmentationModel, pixels: NDArray[np.uint8], measured: Field) -> Indices:
    events = segment(
        pixels, rgb=True, calibration=None, measured=measured, parameters=QUICK, model=model
    )
    return drain(events).indices


@pytest.fixture(scope="module")
def images(model: SegmentationModel) -> list[LabelledImage]:
    """Two micrographs whose truth is what the model says of them."""
    result = []
    for seed in range(2):
        pixels = _micrograph(seed)
        labels = _predicted(model, pixels, Field(pixels.shape[:2]))
        result.append(LabelledImage(f"steel{seed}", pixels, labels, pixel_size_um=0.5))
    return result


def test_a_model_agrees_with_its_own_predictions(model, images) -> None:
    assert len(np.unique(images[0].labels)) > 1
    result = drain(evaluate(model, images, QUICK))
    assert result["miou"] == result["accuracy"] == 1
    assert [image["name"] for image in result["images"]] == ["steel0", "steel1"]
    for particles in result["particles"].values():
        assert particles["precision"] == particles["recall"]
        assert particles["precision"] in (None, 1)
        assert particles["count_error"] == 0
        assert particles["mean_radius_error_um"] in (None, 0)


def test_a_model_against_another_truth(model, images) -> None:
    rng = np.random.default_rng(3)
    truths = [rng.choice(np.array([0, 1, 2, 255], np.uint8), i.labels.shape) for i in images]
    altered = [
        LabelledImage(image.name, image.pixels, truth)
        for image, truth in zip(images, truths, strict=True)
    ]
    kept: dict[str, ImageScore] = {}
    result = drain(
        evaluate(model, altered, QUICK, lambda image, score: kept.update({image.name: score}))
    )
    guesses = [image.labels for image in images]
    assert result["iou"] == pytest.approx(_ious(truths, guesses))
    assert sum(map(sum, result["confusion"])) == sum((t != UNLABELLED).sum() for t in truths)
    assert list(kept) == ["steel0", "steel1"]
    for score, guess in zip(kept.values(), guesses, strict=True):
        assert (score.prediction == guess).all()


def test_the_data_bar_is_neither_seen_nor_scored(model) -> None:
    pixels = _micrograph(5)
    measured = Field((64, 96), Box(48, 0, 64, 96))
    labels = _predicted(model, pixels, measured)
    image = LabelledImage("barred", pixels, labels, measured=measured)
    result = drain(evaluate(model, [image], QUICK))
    assert result["miou"] == 1
    assert np.sum(result["confusion"]) == 48 * 96


def test_the_progress_counts_images_and_notices_name_theirs(model, images) -> None:
    unknown = LabelledImage("unknown", images[0].pixels, images[0].labels)
    coarse = LabelledImage("coarse", images[1].pixels, images[1].labels, pixel_size_um=5.0)
    seen: list[Event] = []
    drain(evaluate(model, [unknown, coarse], QUICK), seen.append)
    progress = [event for event in seen if isinstance(event, Progress)]
    assert progress == [Progress(done, 2, "images") for done in range(3)]
    notices = [event.message for event in seen if isinstance(event, Notice)]
    assert [message.split(":")[0] for message in notices] == ["unknown", "coarse"]
    assert "no pixel size is known" in notices[0]
    assert "a pixel is 5 µm" in notices[1]


def test_a_cancelled_evaluation_scores_no_further_image(model, images) -> None:
    kept: list[str] = []
    events = evaluate(model, images, QUICK, lambda image, _: kept.append(image.name))
    while next(events) != Progress(1, 2, "images"):
        pass
    events.close()
    assert kept == ["steel0"]


def test_labels_the_model_has_no_class_for_are_refused(model, images) -> None:
    beyond = LabelledImage("beyond", images[0].pixels, np.full((64, 96), 3, np.uint8))
    with pytest.raises(InputError, match="beyond: label 3, but the 3 classes"):
        drain(evaluate(model, [beyond], QUICK))
    with pytest.raises(InputError, match="no labelled image"):
        drain(evaluate(model, [], QUICK))
