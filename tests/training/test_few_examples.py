from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from napari_metallography.classes import named_classes
from napari_metallography.classification.few_shot_model import (
    FewShotNetwork,
    load_few_shot_model,
    save_few_shot_model,
    spread_features,
    square_reader,
)
from napari_metallography.classification.library import Library, example_of
from napari_metallography.classification.micrographs import ClassifiedMicrographs
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, Progress, drain
from napari_metallography.models.card import (
    DataSource,
    FewShotInput,
    ModelCard,
    Network,
    Normalisation,
)
from napari_metallography.models.file import write_model
from napari_metallography.training import few_examples
from napari_metallography.training.few_examples import FewShotAnswer, learn, name_planes

CPU = torch.device("cpu")
SIGMAS = {"fine": 0.7, "coarse": 4.0}


def _texture(sigma: float, seed: int, shape: tuple[int, int] = (64, 64)) -> NDArray[np.uint8]:
    """Smooth noise of one contrast, as fine as sigma (px)."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma, mode="wrap")
    return np.clip(128 + 45 * noise / noise.std(), 0, 255).astype(np.uint8)


def _checks(seed: int) -> NDArray[np.uint8]:
    """Neither of them: large squares, black and white."""
    rows, columns = np.indices((64, 64)) + np.random.default_rng(seed).integers(0, 16, (2, 1, 1))
    return np.where((rows // 16 + columns // 16) % 2, 250, 5).astype(np.uint8)


def _library(count: int, names=("fine", "coarse"), size: float | None = None) -> Library:
    return Library().added(
        *(
            example_of(_texture(SIGMAS[name], seed), name, size, "", f"{name} {seed}")
            for name in names
            for seed in range(count)
        )
    )


def _card(**changes) -> ModelCard:
    stated = {
        "name": "m",
        "task": "few-shot",
        "network": Network(architecture="prototypes", encoder="resnet18"),
        "classes": named_classes(["a", "b"]),
        "few_shot": FewShotInput(side=64, scale=10.0),
        "data": DataSource(name="none", digest="0"),
    }
    return ModelCard(**{**stated, **changes})


@pytest.fixture(scope="module")
def network() -> FewShotNetwork:
    """Of random weights: what it sees still tells textures of different fineness."""
    torch.manual_seed(0)
    return FewShotNetwork("resnet18", "cosine").eval()


@pytest.fixture(scope="module")
def model(network, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_few_shot_model(path, _card(), network)
    return str(path)


def _named(learnt, planes, sizes=None) -> list[FewShotAnswer]:
    return drain(name_planes(learnt, planes, sizes or [None] * len(planes)))


def _said(events: list[object]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice)]


def test_textures_are_named_and_others_are_none(model) -> None:
    events: list[object] = []
    learnt = drain(learn(model, _library(4), CPU), events.append)
    assert learnt.names == ("coarse", "fine")
    said = _said(events)
    assert len(said) == 1
    assert "magnification is not taken into account" in said[0]
    for name, sigma in SIGMAS.items():
        found = _named(learnt, [_texture(sigma, seed) for seed in range(100, 110)])
        best = [learnt.names[one.probabilities.argmax()] for one in found]
        # The weights are random, and of every five images one is the least alike.
        assert best.count(name) >= 8
        assert sum(one.answer == name for one in found) >= 6
        assert all(one.probabilities.sum() == pytest.approx(1) for one in found)
        for one in found:
            assert (one.answer == "none") == (one.similarity < one.least_similarity)
    strangers = _named(learnt, [_checks(seed) for seed in range(10)])
    assert sum(one.answer == "none" for one in strangers) >= 7


def test_an_example_itself_is_always_familiar(model) -> None:
    for count in (1, 3):
        library = _library(count)
        learnt = drain(learn(model, library, CPU))
        found = _named(learnt, [one.plane for one in library.examples])
        assert [one.answer for one in found] == [one.name for one in library.examples]


def test_a_limit_that_refuses_nothing_is_told(model, monkeypatch) -> None:
    def least(*_):
        yield from ()
        return (-0.1, 0.4)

    monkeypatch.setattr(few_examples, "_least_similarity", least)
    events: list[object] = []
    drain(learn(model, _library(3), CPU), events.append)
    assert "hardly anything is none of coarse: add specimens that show it" in _said(events)


def test_an_image_like_an_example_of_none_is_none(model) -> None:
    library = _library(1)
    between = _texture(2.0, 0)
    loose = drain(learn(model, library, CPU))
    (before,) = _named(loose, [between])
    stranger = example_of(between, "none", None, "", "between")
    learnt = drain(learn(model, library.added(stranger), CPU))
    (after,) = _named(learnt, [between])
    assert learnt.names == loose.names
    assert after.answer == "none"
    assert after.similarity == pytest.approx(before.similarity)
    # It is more like that example, itself, than like any class.
    assert before.least_similarity < after.least_similarity == pytest.approx(1)


def test_one_class_is_that_or_none(model) -> None:
    events: list[object] = []
    learnt = drain(learn(model, _library(3, ["fine"]), CPU, steps=2, rate=0.01), events.append)
    said = " ".join(event.message for event in events if isinstance(event, Notice))
    assert "every answer is fine or none" in said
    # There is nothing to tell apart: the network is not tuned.
    assert learnt.network is learnt.model.network
    assert {one.answer for one in _named(learnt, [_checks(0), _texture(4.0, 3)])} == {"none"}
    (own,) = _named(learnt, [_texture(0.7, 0)])
    assert own.answer == "fine"
    assert own.probabilities.tolist() == [1]


def test_one_scale_is_compared_where_pixel_sizes_are_known(model) -> None:
    learnt = drain(learn(model, _library(3, size=0.5), CPU))
    assert learnt.needs_pixel_size
    assert learnt.shown.pixel_um == pytest.approx(0.5)
    # Seen at four times the magnification, what is fine looks coarse.
    enlarged = zoom(_texture(0.7, 50), 4, order=1)
    (right,) = _named(learnt, [enlarged], [0.125])
    (wrong,) = _named(learnt, [enlarged], [0.5])
    best = [learnt.names[one.probabilities.argmax()] for one in (right, wrong)]
    assert best == ["fine", "coarse"]
    with pytest.raises(InputError, match="1 of 2 images have no pixel size, and the examples"):
        _named(learnt, [enlarged, enlarged], [0.5, None])


def test_a_missing_pixel_size_is_told(model) -> None:
    mixed = _library(2, size=0.5).added(example_of(_texture(4, 9), "coarse", None, "", "x"))
    events: list[object] = []
    learnt = drain(learn(model, mixed, CPU), events.append)
    assert not learnt.needs_pixel_size
    assert any(isinstance(e, Notice) and "1 of 5 examples have no" in e.message for e in events)


def test_all_of_a_large_image_counts(model) -> None:
    """Its middle is coarse, and all else of it is fine."""
    learnt = drain(learn(model, _library(3, size=0.5), CPU))
    large = _texture(0.7, 1, (192, 192))
    (fine,) = _named(learnt, [large], [0.5])
    large[64:128, 64:128] = _texture(4.0, 2)
    (mixed,) = _named(learnt, [large], [0.5])
    fine_place = learnt.names.index("fine")
    assert mixed.probabilities.argmax() == fine_place
    assert mixed.probabilities[fine_place] < fine.probabilities[fine_place]


def test_tuning_is_reproducible_and_leaves_the_model(model) -> None:
    events: list[object] = []
    first = drain(learn(model, _library(2), CPU, steps=2, rate=0.01), events.append)
    again = drain(learn(model, _library(2), CPU, steps=2, rate=0.01))
    assert sum(isinstance(e, Progress) and e.message == "steps" for e in events) == 2
    assert torch.allclose(first.features, again.features, atol=1e-4)
    plain = drain(learn(model, _library(2), CPU))
    assert not torch.allclose(first.features, plain.features, atol=1e-3)
    told = first.provenance()
    assert json.loads(json.dumps(told)) == told
    assert told["examples"] == {"coarse": 2, "fine": 2}
    assert told["parameters"]["steps"] == 2
    assert set(told["parameters"]["least_similarity"]) == {"coarse", "fine"}
    assert set(told["specimens"]) == {"coarse", "fine"}
    assert told["compared"] == "features"


def test_a_library_without_classes_is_refused(model) -> None:
    with pytest.raises(InputError, match="holds no example of a class"):
        drain(learn(model, Library(), CPU))


def test_a_backbone_is_a_few_shot_model(network, tmp_path: Path) -> None:
    path = tmp_path / "seen.safetensors"
    card = _card(task="backbone", classes=(), few_shot=None, training={"side": 96})
    write_model(path, card, network.backbone.tensors())
    loaded = load_few_shot_model(str(path))
    assert (loaded.shown.side, loaded.shown.metric, loaded.shown.scale) == (96, "cosine", 10.0)
    assert loaded.shown.tuning_rate == 0
    learnt = drain(learn(str(path), _library(2), CPU))
    (found,) = _named(learnt, [_texture(4.0, 0)])
    assert found.answer == "coarse"


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 99))
def test_the_limit_leaves_out_a_specimen_at_a_time(groups, copies, seed) -> None:
    random = np.random.default_rng(seed)
    seen = random.normal(size=(len(groups), 4)) + 1
    others = random.normal(size=(len(groups), copies, 4)) + 1
    expected = []
    for number, group in enumerate(groups):
        kept = [one for one, its in zip(seen, groups, strict=True) if its != group]
        # Where there is one specimen only it is compared with itself.
        centre = np.mean(kept or seen, axis=0)
        expected += [_cosine(view, centre) for view in (seen[number], *others[number])]
    views = torch.from_numpy(np.concatenate([seen[:, None], others], 1))
    found = few_examples._left_out(torch.from_numpy(seen), views, torch.tensor(groups))
    np.testing.assert_allclose(found.numpy().ravel(), expected, atol=1e-9)


@pytest.mark.parametrize("counts", [(1, 1, 1), (4, 1, 2, 1, 1)])
def test_three_specimens_tell_the_limit_each_once(network, monkeypatch, counts) -> None:
    """Written out; of a specimen of several images their mean counts."""
    monkeypatch.setattr(few_examples, "_copies", None)
    specimens = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    seen = torch.randn(len(specimens), 6, generator=torch.Generator().manual_seed(0)) + 1
    images, classes = torch.arange(len(specimens)), torch.zeros(len(specimens), dtype=torch.long)
    values = []
    for one in range(len(counts)):
        centre = seen[specimens != one].mean(0).numpy()
        values.append(np.mean([_cosine(row.numpy(), centre) for row in seen[specimens == one]]))
    n = len(counts)
    t = {3: 1.885618, 5: 1.533206}[n]
    expected = np.mean(values) - t * np.std(values, ddof=1) * np.sqrt(1 + 1 / n)
    running = few_examples._least_similarity(network, None, images, (classes, specimens), seen)
    (found,) = drain(running)
    assert found == pytest.approx(expected, abs=1e-5)


def test_one_in_ten_further_witnesses_lies_below_the_limit() -> None:
    random = torch.Generator().manual_seed(0)
    for witnesses in (3, 5, 20):
        drawn = torch.randn(4000, witnesses + 1, generator=random) * 0.05 + 0.6
        limits = [few_examples._prediction_limit(row[:-1]) for row in drawn]
        below = np.mean(drawn[:, -1].numpy() < np.array(limits))
        assert below == pytest.approx(0.1, abs=0.02)


def _large_library(specimens: bool = True) -> Library:
    """Four examples a class, larger than the square; each, or all of a class, of one specimen."""
    return Library().added(
        *(
            example_of(
                _texture(SIGMAS[name], seed, (256, 256)),
                name,
                0.5,
                f"{name} {seed if specimens else 0}",
                f"{name} {seed}",
            )
            for name in SIGMAS
            for seed in range(4)
        ),
    )


def test_the_limit_of_none_is_that_of_whole_images(model) -> None:
    """Single squares vary more than means over five: by them no large image was ever none."""
    library = _large_library()
    events: list[object] = []
    scale = FewShotInput(side=64, scale=10.0, pixel_um=0.5)
    path = Path(model).with_name("scaled.safetensors")
    save_few_shot_model(path, _card(few_shot=scale), load_few_shot_model(model).network)
    learnt = drain(learn(str(path), library, CPU), events.append)
    assert not _said(events)
    strangers = [np.tile(_checks(seed)[::4, ::4], (16, 16)) for seed in range(3)]
    found = _named(learnt, strangers, [0.5] * 3)
    assert [one.answer for one in found] == ["none"] * 3
    own = [_texture(sigma, seed, (256, 256)) for sigma in SIGMAS.values() for seed in range(20, 25)]
    known = _named(learnt, own, [0.5] * 10)
    assert sum(one.answer != "none" for one in known) >= 6


def test_turned_images_are_seen_as_if_they_had_been_turned_before(network) -> None:
    plane = _texture(2.0, 3, (200, 140))
    shown = FewShotInput(side=64, pixel_um=0.5)
    grey = Normalisation(mean=(128.0,) * 3, std=(45.0,) * 3)
    quarters = [np.rot90(plane, n) for n in range(4)]
    planes = [plane, *quarters, *(np.rot90(plane[:, ::-1], n) for n in range(4))]
    reader = square_reader(
        [np.ascontiguousarray(one) for one in planes], [0.5] * 9, shown, grey, CPU
    )
    before = spread_features(network, reader, torch.arange(1, 9))
    turned = spread_features(network, reader, torch.zeros(8, dtype=torch.long), torch.arange(8))
    apart = torch.cdist(turned, before)
    # Each of the eight, once, whichever way it is counted.
    assert apart.min(1).values.max() < 0.01 * apart.max()
    assert len(set(apart.argmin(1).tolist())) == 8


def test_examples_of_one_specimen_only_are_told(model) -> None:
    events: list[object] = []
    library = _large_library(specimens=False)
    drain(learn(model, library, CPU), events.append)
    (said,) = (words for words in _said(events) if "one specimen only" in words)
    assert "coarse, fine" in said


def test_copies_of_an_only_specimen_are_lit_differently(network) -> None:
    squares = torch.rand(6, 1, 32, 32) * 200
    squares[1:3] = squares[0]
    lit = few_examples._lit(squares, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert torch.equal(lit[0], lit[1])
    assert not torch.allclose(lit[1], lit[2], atol=1)
    assert not torch.allclose(lit, squares, atol=1)


def test_one_small_example_sets_the_scale_and_is_told(model) -> None:
    events: list[object] = []
    small = example_of(_texture(0.7, 9, (40, 40)), "fine", 0.1, "", "small.tif")
    library = _library(2, size=4.0).added(small)
    learnt = drain(learn(model, library, CPU), events.append)
    assert learnt.shown.pixel_um == pytest.approx(4 / 64)
    assert any(words.startswith("small.tif shows 4 µm") for words in _said(events))
    events.clear()
    drain(learn(model, _library(2, size=4.0), CPU), events.append)
    assert not any("at one scale" in words for words in _said(events))


def test_what_shows_less_than_is_compared_is_told_or_refused(model) -> None:
    learnt = drain(learn(model, _library(2, size=0.5), CPU))
    events: list[object] = []
    planes = [_texture(0.7, 1), _texture(0.7, 1, (40, 90))]
    drain(name_planes(learnt, planes, [0.5, 0.5]), events.append)
    (said,) = _said(events)
    assert said.startswith("1 of 2 planes show less than the 32 µm that are compared")
    with pytest.raises(InputError, match=r"^an image shows 47% of the 32 µm"):
        _named(learnt, [_texture(0.7, 1, (60, 30))], [0.5])


def test_a_model_of_one_scale_tells_of_small_examples(network, tmp_path) -> None:
    path = tmp_path / "scaled.safetensors"
    shown = FewShotInput(side=64, scale=10.0, pixel_um=1.0)
    save_few_shot_model(path, _card(few_shot=shown), network)
    events: list[object] = []
    drain(learn(str(path), _library(2, size=0.5), CPU), events.append)
    assert any(words.startswith("4 of 4 examples show less than the 64") for words in _said(events))


def test_examples_are_digested_once(model, monkeypatch) -> None:
    learnt = drain(learn(model, _library(1), CPU))
    first = learnt.provenance()
    monkeypatch.setattr(ClassifiedMicrographs, "digest", None)
    assert learnt.provenance() == first
