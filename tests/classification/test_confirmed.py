from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.calibration import Calibration
from napari_metallography.classification.confirmed import (
    Confirmed,
    classified_planes,
    confirmed_classes,
)
from napari_metallography.classification.images import OUTSIDER, OUTSIDERS, prepared
from napari_metallography.errors import InputError
from napari_metallography.events import drain
from napari_metallography.plane import Plane

NAMES = st.lists(st.sampled_from("abcdefgh"), max_size=12)


@given(NAMES, st.permutations("abcd"))
def test_known_classes_keep_their_order_and_new_ones_follow(names, known) -> None:
    if len(set(names)) < 2:
        with pytest.raises(InputError, match="two classes at least"):
            confirmed_classes(names, known)
        return
    found = confirmed_classes([*names, OUTSIDERS], known)
    assert set(found) == set(names)
    assert len(found) == len(set(found))
    kept = [name for name in found if name in known]
    assert kept == [name for name in known if name in names]
    assert list(found) == kept + sorted(set(names) - set(known))


def _show(plane: Plane, calibration: Calibration | None) -> np.ndarray:
    rows, columns = plane.shape
    return prepared(plane.rgb8(slice(0, rows), slice(0, columns)), (32, 32), 90)


def test_planes_become_images_as_a_folder_would_give_them(striped) -> None:
    grey = striped("lying", 0, (40, 90))
    colour = np.repeat(striped("upright", 0)[..., None], 4, axis=2)
    planes = [
        Confirmed("grey", grey, "lying", Calibration.square(0.5, "test")),
        Confirmed("colour", colour, "upright", Calibration.square(0.7, "test")),
        Confirmed("16 bit", striped("lying", 1).astype(np.uint16) * 200, OUTSIDERS),
    ]
    images = drain(classified_planes(planes, _show, ("upright",)))
    assert images.names == ("upright", "lying")
    assert images.classes.tolist() == [1, 0, OUTSIDER]
    assert images.pixels.shape == (3, 32, 32, 3)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    assert (images.pixels[0] == prepared(rgb, (32, 32), 90)).all()
    assert images.shapes.tolist() == [[40, 90], [48, 48], [48, 48]]
    assert images.pixel_size_range_um is None
    assert images.where([True, True, False]).pixel_size_range_um == (0.5, 0.7)


def test_a_plane_without_content_is_refused_by_name(striped) -> None:
    planes = [
        Confirmed("a", striped("lying", 0), "lying"),
        Confirmed("empty one", np.zeros((20, 20)), "upright"),
    ]
    with pytest.raises(InputError, match="empty one"):
        drain(classified_planes(planes, _show))


def test_a_plane_of_one_grey_value_is_of_no_class(striped) -> None:
    planes = [
        Confirmed("a", striped("lying", 0), "lying"),
        Confirmed("b", striped("upright", 0), "upright"),
        Confirmed("black", np.zeros((20, 20), np.uint16), OUTSIDERS),
    ]
    images = drain(classified_planes(planes, _show))
    assert images.classes.tolist() == [0, 1, OUTSIDER]


def test_a_plane_that_shows_more_than_the_network_takes_is_refused(striped) -> None:
    def shows_more(plane: Plane, calibration: Calibration | None) -> np.ndarray:
        return np.zeros((32, 64, 3), np.uint8)

    planes = [Confirmed(name, striped(name, 0), name) for name in ("lying", "upright")]
    with pytest.raises(InputError, match=r"lying: shows more than .* cut to squares"):
        drain(classified_planes(planes, shows_more))


def test_an_answer_that_is_none_is_no_class(striped) -> None:
    planes = [Confirmed(name, striped("lying", 0), name) for name in ("lying", "Unsure")]
    with pytest.raises(InputError, match="no class can be called 'Unsure'"):
        drain(classified_planes(planes, _show))
