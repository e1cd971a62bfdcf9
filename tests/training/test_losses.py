import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from napari_metallography.classes import UNLABELLED
from napari_metallography.training.losses import (
    LOSSES,
    cross_entropy_and_dice,
    disagreement,
    focal,
)

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(1, 3), st.integers(2, 4), st.integers(1, 5), st.integers(1, 5))


def _drawn(
    seed: int, shape: tuple[int, int, int, int], unlabelled: float = 0.3
) -> tuple[Tensor, Tensor]:
    """Logits (B, C, H, W) and labels (B, H, W)."""
    rng = np.random.default_rng(seed)
    batch, classes, height, width = shape
    labels = rng.integers(0, classes, (batch, height, width))
    labels[rng.random(labels.shape) < unlabelled] = UNLABELLED
    logits = torch.from_numpy(rng.normal(0, 3, shape))
    return logits, torch.from_numpy(labels)


def _by_pixel(logits: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities (N, C) and classes (N,) of the labelled pixels."""
    classes = logits.shape[1]
    rows = np.moveaxis(logits.numpy(), 1, -1).reshape(-1, classes)
    exponentials = np.exp(rows - rows.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    truth = labels.numpy().ravel()
    return probabilities[truth != UNLABELLED], truth[truth != UNLABELLED]


def _expected_focal(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> float:
    probabilities, truth = _by_pixel(logits, labels)
    p = probabilities[np.arange(len(truth)), truth]
    return float((alpha * (1 - p) ** gamma * -np.log(p)).sum() / max(1, len(truth)))


def _expected_cross_entropy_and_dice(logits: Tensor, labels: Tensor) -> float:
    probabilities, truth = _by_pixel(logits, labels)
    if not len(truth):
        return 0.0
    dice = []
    for present in np.unique(truth):
        overlap = probabilities[truth == present, present].sum()
        dice.append(2 * overlap / (probabilities[:, present].sum() + (truth == present).sum()))
    surprise = -np.log(probabilities[np.arange(len(truth)), truth]).mean()
    return float(surprise + 1 - np.mean(dice))


@given(seeds, shapes)
def test_focal_by_hand(seed: int, shape: tuple[int, int, int, int]) -> None:
    logits, labels = _drawn(seed, shape)
    assert float(focal(logits, labels)) == pytest.approx(
        _expected_focal(logits, labels, 0.25, 2), rel=1e-9, abs=1e-12
    )


def test_focal_without_focus_is_cross_entropy() -> None:
    logits, labels = _drawn(1, (2, 3, 6, 6), unlabelled=0)
    plain = torch.nn.functional.cross_entropy(logits, labels)
    assert float(focal(logits, labels, alpha=1, gamma=0)) == pytest.approx(float(plain))


@given(seeds)
def test_focal_of_two_classes_agrees_with_torchvision(seed: int) -> None:
    logits, labels = _drawn(seed, (2, 2, 6, 6), unlabelled=0)
    # The softmax of two logits is the sigmoid of their difference; -1 means no weighting.
    difference = logits[:, 1] - logits[:, 0]
    theirs = sigmoid_focal_loss(difference, labels.double(), alpha=-1, gamma=2, reduction="mean")
    assert float(focal(logits, labels, alpha=1)) == pytest.approx(float(theirs))


@given(seeds, shapes)
def test_cross_entropy_and_dice_by_hand(seed: int, shape: tuple[int, int, int, int]) -> None:
    logits, labels = _drawn(seed, shape)
    assert float(cross_entropy_and_dice(logits, labels)) == pytest.approx(
        _expected_cross_entropy_and_dice(logits, labels), rel=1e-5, abs=1e-7
    )


@every_loss
@given(seed=seeds, shape=shapes, share=st.floats(0.05, 0.95))
def test_unlabelled_pixels_do_not_matter(loss, seed: int, shape, share: float) -> None:
    logits, labels = _drawn(seed, shape, share)
    other, _ = _drawn(seed + 1, shape)
    changed = torch.where((labels == UNLABELLED)[:, None], other, logits)
    assert float(loss(changed, labels)) == pytest.approx(float(loss(logits, labels)), abs=1e-12)


@every_loss
def test_unlabelled_pixels_get_no_gradient(loss) -> None:
    logits, labels = _drawn(3, (2, 3, 5, 5))
    logits.requires_grad_()
    loss(logits, labels).backward()
    given_none = (logits.grad == 0).all(1)
    assert (given_none == (labels == UNLABELLED)).all()


@every_loss
def test_a_batch_without_labels_is_worth_nothing(loss) -> None:
    logits, labels = _drawn(4, (2, 3, 4, 4), unlabelled=1)
    logits.requires_grad_()
    value = loss(logits, labels)
    value.backward()
    assert float(value.detach()) == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@every_loss
@pytest.mark.parametrize("certainty", [-200.0, 200.0])
def test_certain_logits_give_finite_gradients(loss, certainty: float) -> None:
    _, labels = _drawn(5, (1, 2, 4, 4), unlabelled=0)
    logits = (certainty * torch.stack([labels == 0, labels == 1], 1)).float().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    assert torch.isfinite(logits.grad).all()
    assert (float(value.detach()) < 1e-6) == (certainty > 0)


@every_loss
@given(seed=seeds)
def test_neither_order_nor_names_of_classes_matter(loss, seed: int) -> None:
    logits, labels = _drawn(seed, (3, 3, 4, 4))
    expected = float(loss(logits, labels))
    assert float(loss(logits.flip(0, 2), labels.flip(0, 1))) == pytest.approx(expected)
    renamed = torch.where(labels == UNLABELLED, UNLABELLED, 2 - labels)
    assert float(loss(logits.flip(1), renamed)) == pytest.approx(expected)


@every_loss
@given(seed=seeds)
def test_unequal_parts_of_a_batch_give_the_gradient_of_the_whole(loss, seed: int) -> None:
    logits, labels = _drawn(seed, (2, 3, 4, 4))
    labels[0, 1:] = UNLABELLED
    whole = logits.clone().requires_grad_()
    expected = loss(whole, labels)
    expected.backward()
    sums: list[list[Tensor]] = []
    for part in range(2):
        sums.append([])
        loss(logits[[part]], labels[[part]], lambda total: sums[-1].append(total) or total)
    means = [torch.stack(pair).mean(0) for pair in zip(*sums, strict=True)]
    for part in range(2):
        mean = iter(means)
        own = logits[[part]].requires_grad_()
        value = loss(own, labels[[part]], lambda t, mean=mean: t + (next(mean) - t.detach()))
        assert float(value.detach()) == pytest.approx(float(expected.detach()), abs=1e-9)
        value.backward()
        # Several processes take the mean of their gradients.
        torch.testing.assert_close(own.grad / 2, whole.grad[[part]])


def _pairwise_disagreement(logits: Tensor, grey: np.ndarray, labels: Tensor) -> float:
    """The definition, pair by pair."""
    probabilities = logits.softmax(1).numpy()
    total, offsets = 0.0, 0
    height, width = grey.shape
    for down, right in [(d, r) for d in range(4) for r in range(-3, 4) if d or r > 0]:
        if down**2 + right**2 > 9:
            continue
        offsets += 1
        pairs = [
            ((row, column), (row + down, column + right))
            for row in range(height - down)
            for column in range(max(0, -right), width - max(0, right))
        ]
        found = 0.0
        for one, other in pairs:
            if UNLABELLED in (labels[0][one], labels[0][other]):
                alike = np.exp(-((grey[one] - grey[other]) ** 2) / 0.02 - (down**2 + right**2) / 18)
                differ = 1 - (probabilities[0][:, *one] * probabilities[0][:, *other]).sum()
                found += alike * differ
        total += found / len(pairs)
    return total / offsets


@given(seed=seeds)
def test_disagreement_is_that_of_all_pairs(seed: int) -> None:
    logits, labels = _drawn(seed, (1, 3, 6, 7), unlabelled=0.5)
    grey = np.random.default_rng(seed).random((6, 7))
    images = torch.from_numpy(grey).expand(1, 3, 6, 7)
    sums = [
        cv2.boxFilter(one, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        for one in (grey, np.ones_like(grey))
    ]
    smooth = sums[0] / sums[1]
    expected = _pairwise_disagreement(logits, smooth, labels)
    assert float(disagreement(logits, images, labels)) == pytest.approx(expected)


def test_likeness_counts_more_than_a_step_in_grey() -> None:
    labels = torch.full((1, 12, 12), UNLABELLED)
    logits = torch.zeros(1, 2, 12, 12)
    logits[:, 0, :, :6], logits[:, 1, :, 6:] = 9.0, 9.0
    uniform = torch.full((1, 3, 12, 12), 0.5)
    stepped = uniform.clone()
    stepped[..., 6:] = 0.9
    assert disagreement(logits, stepped, labels) < 0.5 * disagreement(logits, uniform, labels)


def test_labels_everywhere_and_one_phase_leave_nothing_to_disagree_about() -> None:
    logits, labels = _drawn(3, (2, 3, 8, 8), unlabelled=0.0)
    images = torch.rand(2, 3, 8, 8)
    assert disagreement(logits, images, labels) == 0
    sure = torch.zeros(2, 3, 8, 8)
    sure[:, 1] = 60.0
    assert disagreement(sure, images, labels.fill_(UNLABELLED)) == pytest.approx(0)
