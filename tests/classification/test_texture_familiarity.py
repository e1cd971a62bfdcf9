from __future__ import annotations

import pytest
import torch

from napari_metallography.classification.familiarity import by_folds
from napari_metallography.classification.texture_familiarity import (
    TextureFamiliarity,
    of_unseen_textures,
)

CLASSES = torch.arange(2).repeat(30)


def seen_at(
    magnifications: torch.Tensor, classes: torch.Tensor, seed: int, *, shift: float = 0.0
) -> torch.Tensor:
    """Textures (n, crops, 16) that follow a wave along the magnification, as wide as a class's.

    `shift` is how much farther along it a structure of another scale lies.
    """
    random = torch.Generator().manual_seed(seed)
    phase = torch.arange(16) / 4 + classes[:, None, None] * 2
    waves = torch.sin(magnifications[..., None] + shift + phase)
    images = 0.1 * torch.randn(len(classes), 1, 16, generator=random)
    return waves + images + 0.2 * torch.randn(waves.shape, generator=random)


def magnifications_from(low: float, high: float, images: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(images, 24, generator=random)


def learnt() -> TextureFamiliarity:
    familiarity = TextureFamiliarity(2, 16)
    magnifications = magnifications_from(-1, 1, 60, 0)
    familiarity.fit(seen_at(magnifications, CLASSES, 1), magnifications, CLASSES, 15)
    return familiarity


def test_a_known_texture_is_strange_at_another_magnification() -> None:
    familiarity = learnt()
    magnifications = magnifications_from(-1, 1, 60, 2)
    usual = familiarity.strangeness(seen_at(magnifications, CLASSES, 3), magnifications)
    assert float(usual.median()) == pytest.approx(1, abs=0.25)
    # Each of these textures occurs in the class, half an octave farther on.
    moved = seen_at(magnifications, CLASSES, 3, shift=0.5)
    assert float(familiarity.strangeness(moved, magnifications).min()) > float(usual.max())


def test_an_image_at_one_magnification_is_judged_by_that_part_of_the_curve() -> None:
    familiarity = learnt()
    usual = familiarity.strangeness(
        seen_at(magnifications := magnifications_from(-1, 1, 60, 2), CLASSES, 3), magnifications
    )
    for place in (-0.9, 0.0, 0.9):
        narrow = magnifications_from(place - 0.05, place + 0.05, 60, 4)
        found = familiarity.strangeness(seen_at(narrow, CLASSES, 5), narrow)
        assert float(found.median()) == pytest.approx(float(usual.median()), rel=0.25)


def test_beyond_the_magnifications_of_a_class_textures_stay_as_they_are() -> None:
    familiarity = learnt()
    at_the_end = torch.full((60, 24), 1.0)
    seen = seen_at(at_the_end, CLASSES, 6)
    near, far = (familiarity.strangeness(seen, value * at_the_end) for value in (1.0, 5.0))
    assert float((near - far).abs().max()) < 1e-2


def test_without_magnifications_the_mean_texture_is_what_is_known() -> None:
    familiarity = TextureFamiliarity(2, 16)
    unknown = torch.zeros(60, 24)
    seen = seen_at(unknown, CLASSES, 1)
    familiarity.fit(seen, unknown, CLASSES, 15)
    usual = familiarity.strangeness(seen_at(unknown, CLASSES, 2), unknown)
    assert float(usual.median()) == pytest.approx(1, abs=0.25)
    moved = seen_at(unknown, CLASSES, 2, shift=0.5)
    assert float(familiarity.strangeness(moved, unknown).min()) > float(usual.max())


def test_specimens_not_learnt_from_are_judged_as_new_ones_will_be() -> None:
    magnifications = magnifications_from(-1, 1, 60, 0)
    textures = seen_at(magnifications, CLASSES, 1)
    judged = of_unseen_textures(textures, magnifications, CLASSES, torch.arange(60))
    assert len(judged) == 60
    other = magnifications_from(-1, 1, 60, 7)
    new = learnt().strangeness(seen_at(other, CLASSES, 8), other)
    assert float(judged.median()) == pytest.approx(float(new.median()), rel=0.15)


def test_a_class_of_one_specimen_cannot_be_judged() -> None:
    magnifications = magnifications_from(-1, 1, 4, 0)
    classes = torch.tensor([0, 0, 1, 1])
    textures = seen_at(magnifications, classes, 1)
    assert of_unseen_textures(textures, magnifications, classes, classes).isnan().all()
    assert not of_unseen_textures(textures, magnifications, classes, torch.arange(4)).isnan().any()


@pytest.mark.parametrize("count", [2, 6, 12, 60])
def test_strangeness_does_not_depend_on_the_number_of_crops(count) -> None:
    familiarity = learnt()
    random = torch.Generator().manual_seed(2)
    many = 2 * torch.rand(60, 60, generator=random) - 1
    found = {}
    for shift in (0.0, 0.7):
        seen = seen_at(many, CLASSES, 3, shift=shift)
        usual, some = (
            familiarity.strangeness(seen[:, :n], many[:, :n]).square().mean() for n in (24, count)
        )
        found[shift] = usual, some
        assert float(some) == pytest.approx(float(usual), rel=0.3)
    assert found[0.7][1] > 2 * found[0.0][1]


def test_one_crop_makes_no_image_strange() -> None:
    familiarity = learnt()
    magnifications = magnifications_from(-1, 1, 60, 2)
    seen = seen_at(magnifications, CLASSES, 3)
    usual = familiarity.strangeness(seen, magnifications)
    single = familiarity.strangeness(seen[:, :1], magnifications[:, :1])
    assert float(single.max()) < float(usual.max())


def test_a_specimen_of_two_classes_is_learnt_from_in_neither_when_it_is_judged() -> None:
    classes = torch.arange(2).repeat_interleave(10)
    specimens = torch.cat([torch.arange(10), torch.arange(3, 13)])
    judged = torch.zeros(20, dtype=torch.int64)

    def learnt_and_judged(learnt, of, others):
        assert not torch.isin(specimens[others], specimens[learnt]).any()
        judged[others] += 1
        return torch.zeros(int(others.sum()))

    by_folds(classes, specimens, learnt_and_judged)
    assert (judged == 1).all()
