from __future__ import annotations

import pytest
import torch

from napari_metallography.classification.inference import deployed, pooled_and_logits
from napari_metallography.classification.pdmsnet import DESIGNS, PdmsNet


@pytest.mark.parametrize("name", DESIGNS)
def test_the_deployed_form_gives_the_same_answers(name) -> None:
    torch.manual_seed(0)
    network = PdmsNet(6, DESIGNS[name])
    with torch.no_grad():
        for _ in range(2):
            network.train()(torch.randn(4, 3, 64, 64))
    network.eval()
    images = torch.randn(3, 3, 80, 72)
    expected = pooled_and_logits(network, images)
    found = pooled_and_logits(deployed(network), images)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert expected[1].any()
