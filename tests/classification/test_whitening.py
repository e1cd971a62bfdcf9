from __future__ import annotations

import pytest
import torch

from napari_metallography.classification.prototypes import cosines
from napari_metallography.classification.whitening import Whitening

IMAGES, VIEWS, FEATURES = 200, 20, 12


def _views(seed: int, images: int = IMAGES) -> torch.Tensor:
    """Features of images that differ in the first half, and of views that do in the second."""
    random = torch.Generator().manual_seed(seed)
    own = torch.randn(images, 1, FEATURES // 2, generator=random).expand(-1, VIEWS, -1)
    others = 3 * torch.randn(images, VIEWS, FEATURES // 2, generator=random)
    noise = 0.2 * torch.randn(images, VIEWS, FEATURES, generator=random)
    mixing, _ = torch.linalg.qr(
        torch.randn(FEATURES, FEATURES, generator=torch.Generator().manual_seed(0))
    )
    return (torch.cat([own, others], 2) + noise) @ mixing + 5


def _named_rightly(features: torch.Tensor) -> float:
    """Share of the second views that are most like the first view of their own image."""
    first, second = features[:, 0], features[:, 1]
    return float((cosines(second, first).argmax(1) == torch.arange(len(first))).float().mean())


def test_views_of_one_image_come_to_lie_close_together() -> None:
    whitening = Whitening(FEATURES)
    whitening.fit(_views(1))
    others = _views(2, 20)
    assert _named_rightly(others - others.mean((0, 1))) < 0.3
    assert _named_rightly(whitening(others)) > 0.7


def test_views_scatter_alike_in_every_direction() -> None:
    views, whitening = _views(1), Whitening(FEATURES)
    whitening.fit(views)
    found = whitening(views)
    apart = (found - found.mean(1, keepdim=True)).flatten(0, 1)
    scatter = torch.linalg.eigvalsh(apart.T @ apart / (IMAGES * (VIEWS - 1)))
    # Less than 1 in directions of less scatter than what is added to all.
    assert float(scatter.max()) <= 1
    assert float(scatter.max()) == pytest.approx(1, abs=0.1)
    assert found.mean((0, 1)).abs().max() < 1e-3


def test_features_that_never_vary_do_no_harm() -> None:
    views = _views(1)
    views[..., 0] = 3
    whitening = Whitening(FEATURES)
    whitening.fit(views)
    found = whitening(views)
    assert torch.isfinite(found).all()
    views[..., 0] = 4
    # What never varied in the views tells nothing of images where it does.
    assert torch.equal(whitening(views), found)
    whitening.fit(torch.ones(3, 2, FEATURES))
    assert torch.isfinite(whitening(torch.ones(1, FEATURES))).all()


def test_units_of_the_features_do_not_matter() -> None:
    views, scales = _views(1), torch.logspace(-1, 2, FEATURES)
    plain, scaled = Whitening(FEATURES), Whitening(FEATURES)
    plain.fit(views)
    scaled.fit(views * scales)
    expected, found = plain(views[:, 0]), scaled(views[:, 0] * scales)
    torch.testing.assert_close(found.abs(), expected.abs(), rtol=1e-2, atol=1e-2)
