import numpy as np

from napari_metallography.calibration import Calibration
from napari_metallography.grains.drawing import (
    BOUNDARY,
    LINE,
    PARTS,
    WEIGHTS,
    WHOLE,
    drawn,
    legend,
)
from napari_metallography.grains.grading import GradingParameters, grade
from napari_metallography.grains.intersections import Intersections
from napari_metallography.grains.partition import Partition, from_labels
from napari_metallography.grains.planimetric import CUT, INSIDE

GREY = np.full((120, 160, 3), 100, np.uint8)


def _squares() -> Partition:
    rows, columns = np.indices((120, 160)) // 20
    return from_labels((rows * 8 + columns + 1).astype(np.int32))


def test_each_intersection_is_a_dot_in_the_colour_of_its_weight() -> None:
    found = grade(_squares(), Calibration.square(1, "test"))
    picture = drawn(GREY, found)
    assert isinstance(found.drawn, Intersections)
    inside = ((found.drawn.points > 4) & (found.drawn.points < (115, 155))).all(1)
    chosen = np.flatnonzero(inside & (found.drawn.weights == 1))
    y, x = np.rint(found.drawn.points[chosen]).astype(int).T
    assert (picture[y, x] == WEIGHTS[1.0].rgb).all(1).mean() > 0.9
    assert {BOUNDARY, LINE, WEIGHTS[1.0]} <= set(legend(found))
    assert (GREY == 100).all()


def test_grains_inside_and_cut_are_tinted() -> None:
    found = grade(
        _squares(), Calibration.square(1, "test"), GradingParameters(method="planimetric")
    )
    picture = drawn(GREY, found).astype(int)
    for place, part in (((50, 70), INSIDE), ((10, 70), CUT)):
        expected = 0.65 * 100 + 0.35 * np.array(PARTS[part].rgb)
        assert np.abs(picture[place] - expected).max() <= 1
    assert LINE not in legend(found)


def test_oblong_pixels_are_drawn_square() -> None:
    found = grade(_squares(), Calibration(x_um=2, y_um=1, source="test"))
    assert drawn(GREY, found).shape == (120, 320, 3)


def test_the_automatic_method_shows_whole_grains_alone() -> None:
    found = grade(_squares(), Calibration.square(1, "test"), GradingParameters(method="automatic"))
    picture = drawn(GREY, found).astype(int)
    assert legend(found) == [BOUNDARY, WHOLE]
    assert (picture[10, 70] == 100).all()
    expected = 0.65 * 100 + 0.35 * np.array(WHOLE.rgb)
    assert np.abs(picture[50, 70] - expected).max() <= 1


def test_an_enlarged_picture_shows_the_same_with_thinner_marks() -> None:
    found = grade(_squares(), Calibration.square(1, "test"))
    assert isinstance(found.drawn, Intersections)
    once, thrice = drawn(GREY, found), drawn(GREY, found, 3)
    assert thrice.shape == (360, 480, 3)
    inside = ((found.drawn.points > 4) & (found.drawn.points < (115, 155))).all(1)
    chosen = np.flatnonzero(inside & (found.drawn.weights == 1))
    y, x = np.rint((found.drawn.points[chosen] + 0.5) * 3 - 0.5).astype(int).T
    assert (thrice[y, x] == WEIGHTS[1.0].rgb).all(1).mean() > 0.9
    covered = [(picture != 100).any(-1).mean() for picture in (once, thrice)]
    assert covered[1] < 0.6 * covered[0]
