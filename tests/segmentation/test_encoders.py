from pathlib import Path

import pytest
import torch

from napari_metallography.classification.backbone import Backbone
from napari_metallography.errors import InputError
from napari_metallography.models.card import DataSource, ModelCard, Network, Normalisation
from napari_metallography.models.file import write_model
from napari_metallography.segmentation.encoders import encoder_state, normalisation
from napari_metallography.segmentation.networks import SegmentationNetwork, load_encoder

GREY = Normalisation(mean=(100.0,) * 3, std=(40.0,) * 3)


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A ResNet18 of random weights; the user's own model "seen" holds it in 8 bits."""
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(tmp_path))
    made = Backbone("resnet18")
    card = ModelCard(
        name="seen",
        task="backbone",
        network=Network(architecture="dino", encoder="resnet18"),
        classes=(),
        normalisation=GREY,
        data=DataSource(name="noise", digest=""),
        storage="int8",
    )
    write_model(tmp_path / "seen.safetensors", card, made.tensors())
    return made


def test_a_backbone_starts_an_encoder_by_its_name(backbone) -> None:
    network = SegmentationNetwork(Network(architecture="unet", encoder="resnet18"), 2).eval()
    state = encoder_state("resnet18", "seen")
    assert state is not None
    load_encoder(network, state)
    grey = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        seen = network.encoder(grey.expand(-1, 3, -1, -1))[-1].mean((2, 3))
        expected = backbone.eval()(grey)
    # As near as 8 bits a weight come.
    assert torch.corrcoef(torch.stack([seen[0], expected[0]]))[0, 1] > 0.99


def test_its_normalisation_comes_with_it(backbone, tmp_path) -> None:
    assert normalisation("resnet18", "seen") == GREY
    assert normalisation("resnet18", str(tmp_path / "seen.safetensors")) == GREY
    assert normalisation("resnet18", "random").mean[0] == 123.675


def test_what_is_no_backbone_of_that_kind_is_refused(backbone) -> None:
    with pytest.raises(InputError, match="its encoder is resnet18, not efficientnet-lite0"):
        encoder_state("efficientnet-lite0", "seen")
    with pytest.raises(InputError, match="a model for defects"):
        encoder_state("resnet18", "xsdd-pdmsnet")
    with pytest.raises(InputError, match="nowhere"):
        encoder_state("resnet18", "nowhere")
