from __future__ import annotations

import pytest
import torch

from napari_metallography.classification.familiarity import (
    Familiarity,
    components_of,
    of_unseen,
)


def test_what_it_learnt_is_about_one_and_what_lies_aside_is_more() -> None:
    random = torch.Generator().manual_seed(0)
    spread = torch.logspace(0, -2, 128)
    centres = 5 * torch.randn(3, 128, generator=random)
    classes = torch.arange(3).repeat(200)

    def drawn() -> torch.Tensor:
        return centres[classes] + spread * torch.randn(600, 128, generator=random)

    familiarity = Familiarity(3, 128)
    familiarity.fit(drawn(), classes, 48)
    usual = familiarity.strangeness(drawn())
    assert float(usual.mean()) == pytest.approx(1, abs=0.15)
    # As far from a class along a direction in which classes do not vary as along another.
    aside = centres[classes] + spread.flip(0) * torch.randn(600, 128, generator=random)
    assert float(familiarity.strangeness(aside).min()) > float(usual.max())


@pytest.mark.parametrize("count", [30, 120, 600])
def test_unseen_images_are_judged_as_new_ones_will_be(count) -> None:
    """Also where there are fewer images than features: then the learnt ones tell nothing."""
    random = torch.Generator().manual_seed(1)
    centres = 3 * torch.randn(3, 256, generator=random)

    def drawn(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        classes = torch.arange(n) % 3
        return centres[classes] + torch.randn(n, 256, generator=random), classes

    features, classes = drawn(count)
    familiarity = Familiarity(3, 256)
    familiarity.fit(features, classes, components_of(torch.arange(count)))
    new = familiarity.strangeness(drawn(300)[0])
    judged = of_unseen(features, classes, torch.arange(count))
    assert len(judged) == count
    assert float(judged.median()) == pytest.approx(float(new.median()), rel=0.25)
    assert float((new > judged.quantile(0.99)).float().mean()) < 0.08


def test_views_of_an_image_are_judged_without_each_other() -> None:
    random = torch.Generator().manual_seed(2)
    one = torch.randn(40, 64, generator=random)
    classes, images = torch.arange(40) % 2, torch.arange(40)
    alone = of_unseen(one, classes, images)
    twice = of_unseen(one.repeat(2, 1), classes.repeat(2), images.repeat(2))
    assert float(twice.median()) == pytest.approx(float(alone.median()), rel=0.2)
    # Taken for images of their own, each would have its copy among the learnt ones.
    shifted = torch.cat([torch.arange(40), 40 + torch.roll(torch.arange(40), 2)])
    told = of_unseen(one.repeat(2, 1), classes.repeat(2), shifted)
    assert float(told.median()) < 0.95 * float(twice.median())


def test_a_class_of_one_image_cannot_be_judged() -> None:
    features = torch.randn(3, 16, generator=torch.Generator().manual_seed(3))
    assert len(of_unseen(features, torch.arange(3), torch.arange(3))) == 0
