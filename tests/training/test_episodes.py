from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.classification.few_shot_model import common_pixel_um, square_reader
from napari_metallography.classification.images import OUTSIDER
from napari_metallography.classification.micrographs import ClassifiedMicrographs
from napari_metallography.errors import InputError
from napari_metallography.models.card import FewShotInput, Normalisation
from napari_metallography.training.episodes import QUERIES, Episodes, augmented, joined

CPU = torch.device("cpu")
PLAIN = Normalisation(mean=(0, 0, 0), std=(1, 1, 1))


def _images(classes, specimens=None) -> ClassifiedMicrographs:
    """Images of one grey value each, their number."""
    count = len(classes)
    names = tuple(f"class {number}" for number in range(max(classes) + 1))
    files = tuple(f"{number}.tif" for number in range(count))
    planes = tuple(np.full((40, 40), number, np.uint8) for number in range(count))
    own = files if specimens is None else tuple(map(str, specimens))
    return ClassifiedMicrographs(planes, np.array(classes), names, files, (None,) * count, own)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=8, max_size=60),
    st.integers(2, 4),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_support_and_queries_share_neither_image_nor_specimen(rows, ways, shots, seed) -> None:
    images = _images(*zip(*rows, strict=True))
    counts = {
        number: np.unique([s for c, s in rows if c == number], return_counts=True)[1]
        for number in range(len(images.names))
    }
    # A class is enough when it can spare its smallest specimen.
    enough = [n for n, count in counts.items() if len(count) and sum(count) - min(count) >= shots]
    if len(enough) < ways:
        with pytest.raises(InputError, match="lower --ways"):
            Episodes(images, ways, shots)
        return
    episodes = Episodes(images, ways, shots, queries=3)
    assert episodes.left_out == [n for i, n in enumerate(images.names) if i not in enough]
    task = episodes.draw(torch.Generator().manual_seed(seed))
    assert task.support_classes.tolist() == [n for n in range(ways) for _ in range(shots)]
    assert len(set(task.images.tolist())) == len(task.images)
    true = images.classes[task.images.numpy()]
    for number in range(ways):
        support = task.support[task.support_classes == number].numpy()
        query = task.query[task.query_classes == number].numpy()
        assert len({*images.classes[support], *images.classes[query]}) == 1
        assert images.classes[support][0] in enough
        assert 1 <= len(query) <= 3
        assert not {images.specimens[n] for n in support} & {images.specimens[n] for n in query}
    assert len(set(true)) == ways


@given(st.integers(0, 99))
def test_queries_are_all_others_up_to_fifteen(seed) -> None:
    images = _images([0] * 3 + [1] * 40 + [2])
    task = Episodes(images, 2, 2).draw(torch.Generator().manual_seed(seed))
    true = images.classes[task.query.numpy()]
    assert np.bincount(true).tolist() == [1, QUERIES]


def test_tasks_repeat_under_a_seed_and_reach_every_image() -> None:
    images = _images([0, 1, 2, 3] * 5)
    episodes = Episodes(images, 3, 1)
    random, again = (torch.Generator().manual_seed(4) for _ in range(2))
    seen = set()
    for _ in range(60):
        one, other = episodes.draw(random), episodes.draw(again)
        assert torch.equal(one.images, other.images)
        seen |= {*one.support.tolist()}
    assert seen == set(range(20))


def test_too_few_classes_or_images_are_told() -> None:
    with pytest.raises(InputError, match=r"tasks of 5 classes need 5 .* hold 2 \(class 0, class 1"):
        Episodes(_images([0, 0, 1, 1]), 5, 1)
    with pytest.raises(
        InputError, match=r"2 classes of 2 images .* there are 1; .* of class 1: add"
    ):
        Episodes(_images([0, 0, 1]), 2, 1)
    # Three images of one specimen leave nothing to name.
    with pytest.raises(InputError, match="of two specimens; there are 1; too few are of class 1"):
        Episodes(_images([0, 0, 1, 1, 1], "abccc"), 2, 1)


def test_folders_are_joined_by_the_names_of_their_classes() -> None:
    first, second = _images([0, 1, OUTSIDER]), _images([0, 0])
    second = replace(second, names=("class 1",), specimens=("s", "s"))
    both = joined([("a", first), ("b", second)])
    assert both.names == ("class 0", "class 1")
    assert both.classes.tolist() == [0, 1, 1, 1]
    assert both.files == ("a/0.tif", "a/1.tif", "b/0.tif", "b/1.tif")
    assert both.specimens == ("a/0.tif", "a/1.tif", "b/s", "b/s")


def _ramp(shape: tuple[int, int], steps: float) -> np.ndarray:
    """Grey values that rise by so much a pixel to the right, from the middle's 128."""
    x = np.arange(shape[1]) + 0.5 - shape[1] / 2
    return np.tile(np.clip(128 + steps * x, 0, 255), (shape[0], 1)).astype(np.uint8)


def test_images_of_known_scale_are_brought_to_one() -> None:
    # The same specimen, 4 grey values a µm, at two magnifications.
    planes = [_ramp((60, 80), 0.4), _ramp((120, 100), 0.2)]
    sizes = (0.1, 0.05)
    assert common_pixel_um(planes, sizes, 32) == pytest.approx(5 / 32)
    assert common_pixel_um(planes, (0.1, None), 32) is None
    shown = FewShotInput(side=32, pixel_um=5 / 32)
    reader = square_reader(planes, sizes, shown, PLAIN, CPU)
    squares = reader.clean(torch.arange(2))
    slopes = squares[:, 0, 16, 2:-2].diff(dim=-1).mean(1)
    assert slopes.tolist() == pytest.approx([4 * 5 / 32] * 2, rel=0.1)
    with pytest.raises(InputError, match="1 of 2 images have no pixel size"):
        square_reader(planes, (0.1, None), shown, PLAIN, CPU)


def test_images_of_unknown_scale_are_shown_whole() -> None:
    planes = [_ramp((64, 64), 2.0), _ramp((32, 32), 4.0)]
    reader = square_reader(planes, (None, 0.1), FewShotInput(side=32), PLAIN, CPU)
    large, small = reader.clean(torch.arange(2))
    assert torch.allclose(large, small, atol=3)


def test_augmented_squares_stay_those_of_their_images() -> None:
    images = _images([0, 1] * 20)
    reader = square_reader(
        [plane * 4 + 40 for plane in images.planes], (None,) * 40, FewShotInput(side=32), PLAIN, CPU
    )
    random, again = (torch.Generator().manual_seed(0) for _ in range(2))
    numbers = torch.arange(40)
    found = augmented(reader, numbers, random)
    assert found.shape == (40, 1, 32, 32)
    assert torch.equal(found, augmented(reader, numbers, again))
    assert not torch.equal(found, augmented(reader, numbers, random))
    # A flat image stays flat but for its brightness, and one of ten becomes its edges: none.
    assert float(found.std((1, 2, 3)).max()) < 1e-3
    shift = found.mean((1, 2, 3)) - (40.0 + 4 * numbers)
    assert float((shift.abs() < 25.1).float().mean()) > 0.7
