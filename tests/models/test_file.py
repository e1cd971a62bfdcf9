import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.models import registry
from napari_metallography.models.card import DataSource, ModelCard, Network
from napari_metallography.models.file import metadata, read_card, read_model, write_model

STATE = {
    "weight": torch.linspace(-1, 1, 24).reshape(2, 3, 4),
    "count": torch.tensor(7, dtype=torch.int64),
}


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        name="carbides",
        task="segmentation",
        network=Network(architecture="unet", encoder="efficientnet-lite0"),
        classes=named_classes(["matrix", "carbide"]),
        pixel_size_um=(0.04, 0.4),
        data=DataSource(name="test", digest="0" * 64),
    )


@pytest.mark.parametrize(("storage", "tolerance"), [("float32", 0.0), ("float16", 1e-3)])
def test_a_model_comes_back_as_it_was_written(tmp_path, card, storage, tolerance) -> None:
    card = card.model_copy(update={"storage": storage})
    path = tmp_path / "models" / "größe µ.safetensors"
    write_model(path, card, STATE)
    read = read_model(path, "segmentation")
    assert read.card == card
    assert read.state["weight"].dtype == torch.float32
    torch.testing.assert_close(read.state["weight"], STATE["weight"], atol=tolerance, rtol=0)
    assert read.state["count"] == 7
    assert len(read.digest) == 64


def test_bytes_keep_large_tensors_to_a_step_of_their_row(tmp_path, card) -> None:
    random = torch.Generator().manual_seed(0)
    rows = torch.logspace(-3, 3, 64)[:, None]
    state = {
        "large.weight": torch.randn(64, 8, 16, generator=random) * rows[:, :, None],
        "zero.weight": torch.zeros(64, 64),
        "small.weight": torch.randn(4, 5, generator=random),
        "means": torch.randn(64, 128, generator=random),
        "count": torch.tensor(3),
    }
    path, plain = tmp_path / "bytes.safetensors", tmp_path / "plain.safetensors"
    write_model(path, card.model_copy(update={"storage": "int8"}), state)
    write_model(plain, card, state)
    assert path.stat().st_size < 0.6 * plain.stat().st_size
    read = read_model(path, "segmentation")
    assert read.state.keys() == state.keys()
    error = (read.state["large.weight"] - state["large.weight"]).abs().amax((1, 2))
    largest = state["large.weight"].abs().amax((1, 2))
    assert (error <= largest / 254 * 1.001).all()
    assert torch.equal(read.state["zero.weight"], state["zero.weight"])
    assert torch.equal(read.state["small.weight"], state["small.weight"])
    # No weight of a layer, but what its answers are compared with.
    assert torch.equal(read.state["means"], state["means"])
    assert read.state["count"] == 3


def test_a_model_of_another_task_is_refused(tmp_path, card) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path, card, STATE)
    with pytest.raises(InputError, match="a model for segmentation, not for defects"):
        read_model(path, "defects")


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": 1}))


def _torch_zip(path: Path) -> None:
    torch.save(STATE, path)


def _without_card(path: Path) -> None:
    path.write_bytes(safetensors.torch.save(STATE))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 20)


def _missing(path: Path) -> None:
    path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_pickled, "a pickle"),
        (_torch_zip, "a pickle"),
        (_without_card, "no model card"),
        (_empty, "is empty"),
        (_noise, "not a model file"),
        (_missing, "no such file"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(tmp_path, make, says) -> None:
    path = tmp_path / "m.safetensors"
    make(path)
    with pytest.raises(InputError, match=says) as caught:
        read_model(path, "segmentation")
    assert "\n" not in str(caught.value)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(max_size=9), min_size=1))
def test_metadata_comes_back_as_it_was_written(stated) -> None:
    assert metadata(safetensors.torch.save(STATE, stated)) == stated


def test_without_metadata_there_is_none() -> None:
    assert metadata(safetensors.torch.save(STATE)) == {}


@given(
    st.binary()
    | st.sampled_from([b"[]", b"3", b"\xff"]).map(lambda t: bytes([len(t), *7 * [0]]) + t)
)
def test_metadata_of_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a safetensors file"):
        metadata(content)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_a_truncated_model_is_refused(tmp_path, card, part) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path, card, STATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(InputError, match="not a model file"):
        read_card(path)


def test_own_models_are_found_by_name(tmp_path, card, monkeypatch) -> None:
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(tmp_path))
    write_model(tmp_path / "mine.safetensors", card, STATE)
    (tmp_path / "broken.safetensors").write_bytes(b"no model")
    assert registry.cards("segmentation")["mine"] == card
    assert "broken" not in registry.cards()
    assert registry.load("mine", "segmentation").card == card


def test_an_unknown_model_lists_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no model 'carbids'; there are .*uhcs-carbides"):
        registry.model_path("carbids")


def test_an_unknown_model_of_a_task_lists_those_of_the_task(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(tmp_path))
    with pytest.raises(InputError, match=r"for defects; there are xsdd-pdmsnet$"):
        registry.load("xsd", "defects")
    with pytest.raises(InputError, match="for structure; there are none yet; train one"):
        registry.load("steels", "structure")
    with pytest.raises(InputError, match="for few-shot or backbone; there are microstructure"):
        registry.model_path("steels", "few-shot", "backbone")
