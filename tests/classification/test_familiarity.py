from __future__ import annotations

import pytest
import torch

from napari_metallography.classification.familiarity import Familiarity


def test_what_it_learnt_is_about_one_and_what_lies_aside_is_more() -> None:
    random = torch.Generator().manual_seed(0)
    spread = torch.logspace(0, -2, 128)
    centres = 5 * torch.randn(3, 128, generator=random)
    classes = torch.arange(3).repeat(200)

    def drawn() -> torch.Tensor:
        return centres[classes] + spread * torch.randn(600, 128, generator=random)

    familiarity = Familiarity(3, 128)
    familiarity.fit(drawn(), classes)
    usual = familiarity.strangeness(drawn())
    assert float(usual.mean()) == pytest.approx(1, abs=0.15)
    # As far from a class along a direction in which classes do not vary as along another.
    aside = centres[classes] + spread.flip(0) * torch.randn(600, 128, generator=random)
    assert float(familiarity.strangeness(aside).min()) > float(usual.max())
