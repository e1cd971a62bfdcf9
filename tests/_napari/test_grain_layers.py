"""What the line network sees, as layers of the form *Grade grain size*."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from napari.components import ViewerModel
from napari.layers import Points, Vectors

from napari_metallography._napari.grain_size import GrainSizeWidget
from napari_metallography._napari.layers import calibrate_layer
from napari_metallography.calibration import Calibration
from napari_metallography.grains.grading import METHODS, Method
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

PIXEL_UM = 0.5
SIZE = (240, 320)


@pytest.fixture(scope="module")
def made() -> Any:
    return polycrystal(
        PolycrystalParameters(height_px=SIZE[0], width_px=SIZE[1], grain_size=10.0), 4
    )


@pytest.fixture
def opened(qtbot) -> Any:
    """Opens the form on an image, by some methods."""

    def open_form(pixels: np.ndarray, *methods: Method) -> GrainSizeWidget:
        viewer = ViewerModel()
        image = viewer.add_image(pixels, name="steel", translate=np.arange(pixels.ndim))
        calibrate_layer(image, Calibration.square(PIXEL_UM, "test"))
        widget = GrainSizeWidget(viewer)
        for method, box in widget.methods.items():
            box.value = method in methods
        qtbot.addWidget(widget.native)
        return widget

    return open_form


def run(widget: GrainSizeWidget, qtbot: Any) -> None:
    widget.controls.run_button.native.click()
    qtbot.waitUntil(lambda: not widget.controls.is_running, timeout=30_000)


def votes_of(widget: GrainSizeWidget, name: str = "steel") -> tuple[Points, Vectors]:
    layers = widget.viewer.layers
    return layers[f"votes of lines · {name}"], layers[f"lines of the network · {name}"]


def test_the_network_alone_looks_for_no_boundary(opened, qtbot, made) -> None:
    widget = opened(made.image, "network")
    run(widget, qtbot)
    names = [layer.name for layer in widget.viewer.layers]
    assert names == ["steel", "lines of the network · steel", "votes of lines · steel"]
    (row,) = widget.results.table.to_dataframe().to_dict("records")
    assert row["method"] == "network"
    assert float(row["G"]) == pytest.approx(made.intercept_g, abs=0.5)
    assert widget.results.counted_by.choices == ("network",)
    assert "whole grains" not in widget.results.summary.value


def test_every_line_has_a_mark_at_both_edges(opened, qtbot, made) -> None:
    widget = opened(made.image, "network")
    run(widget, qtbot)
    points, lines = votes_of(widget)
    features = points.features
    rows = points.data[(features["direction"] == "row").to_numpy()]
    columns = points.data[(features["direction"] == "column").to_numpy()]
    assert set(rows[:, 1]) == {0, SIZE[1] - 1}
    assert set(columns[:, 0]) == {0, SIZE[0] - 1}
    assert len(set(rows[:, 0])) * 2 == len(rows)
    n = len(lines.data)
    assert len(points.data) == 2 * n
    assert features["line"].tolist() == 2 * list(range(n))
    np.testing.assert_allclose(lines.data[:, 0], points.data[:n])
    np.testing.assert_allclose(lines.data.sum(1), points.data[n:])
    image = widget.viewer.layers["steel"]
    for layer in (points, lines):
        np.testing.assert_allclose(layer.scale, image.scale)
        np.testing.assert_allclose(layer.translate, image.translate)
        assert layer.units == image.units
    assert not points.editable


def test_marks_have_the_colours_of_the_legend(opened, qtbot, made) -> None:
    widget = opened(made.image, "network")
    run(widget, qtbot)
    points, lines = votes_of(widget)
    legend = widget.results.legend.value
    graded = np.round(2 * points.features["expected G"]) / 2
    for colour, g in zip(points.face_color, graded, strict=True):
        # Expected G is told to two digits only, so that one may lie on the edge of its half.
        halves = {g, g - 0.5, g + 0.5}
        assert any(
            f'{to_hex(colour)};background:#606060">■</span>&nbsp;G&nbsp;{h:g}' in legend
            for h in halves
        )
    n = len(lines.data)
    np.testing.assert_allclose(points.face_color[:n], points.face_color[n:])
    np.testing.assert_allclose(lines.edge_color[:, :3], points.face_color[:n, :3])
    mean = points.features["expected G"].mean()
    assert float(widget.results.table.to_dataframe()["G"][0]) == pytest.approx(mean, abs=0.02)
    said = points.get_status(points.data_to_world(points.data[5]), world=True)["value"]
    assert f"expected G: {points.features['expected G'][5]:g}" in said


def test_votes_lie_in_the_plane_and_the_box_measured(opened, qtbot, made) -> None:
    widget = opened(np.stack([made.image[::-1], made.image]), "network")
    widget.viewer.dims.set_current_step(0, 1)
    image = widget.viewer.layers["steel"]
    corners = [[40, 60], [40, 259], [219, 259], [219, 60]]
    widget.region.value = widget.viewer.add_shapes(
        [corners],
        shape_type="rectangle",
        scale=image.scale[1:],
        translate=image.translate[1:],
        units=image.units[1:],
    )
    run(widget, qtbot)
    points, lines = votes_of(widget, "steel, plane 1")
    assert (points.data[:, 0] == 1).all()
    assert (lines.data[:, 1, 0] == 0).all()
    assert points.data[:, 1:].min(0).tolist() == [40, 60]
    assert points.data[:, 1:].max(0).tolist() == [219, 259]


def test_beside_other_methods_it_has_a_row_and_layers_of_its_own(opened, qtbot, made) -> None:
    widget = opened(made.image, "network", "lines")
    run(widget, qtbot)
    table = widget.results.table.to_dataframe()
    assert table["method"].tolist() == ["lines", "network"]
    points = widget.viewer.layers["intersections by lines · steel"]
    boundaries = widget.viewer.layers["grain boundaries · steel"]
    assert "votes of lines · steel" not in widget.viewer.layers
    widget.results.counted_by.value = "network"
    votes, lines = votes_of(widget)
    spread = votes.features["expected G"][: len(lines.data)].std(ddof=0)
    assert table["measured"][1].startswith("spread ")
    assert float(table["measured"][1].removeprefix("spread ")) == pytest.approx(spread, abs=0.02)
    assert f"Network: {len(lines.data)} lines" in widget.results.summary.value
    assert votes.visible
    assert not points.visible
    assert not boundaries.visible
    assert "Both ends of each line" in widget.results.how.value
    assert not widget.results.how.native.isHidden()
    assert widget.results.weight.native.isHidden()
    widget.results.counted_by.value = "lines"
    assert points.visible
    assert boundaries.visible
    assert not votes.visible
    assert not lines.visible


def test_a_boundary_layer_that_was_hidden_stays_so(opened, qtbot, made) -> None:
    widget = opened(made.image, "lines", "planimetric", "network")
    run(widget, qtbot)
    boundaries = widget.viewer.layers["grain boundaries · steel"]
    boundaries.visible = False
    for method in ("planimetric", "network", "lines"):
        widget.results.counted_by.value = method
        assert not boundaries.visible


def test_disagreement_with_the_network_is_said(opened, qtbot, made) -> None:
    widget = opened(made.image, "lines", "network")
    y, x = np.indices(SIZE) // 60
    grains = (10 * y + x + 1).astype(np.int32)
    widget.boundaries.value = widget.viewer.add_labels(grains, name="grains")
    run(widget, qtbot)
    assert "the line network disagrees" in widget.results.summary.value
    assert "trust a standard method" in widget.results.summary.value


def test_measured_again_layers_make_way(opened, qtbot, made) -> None:
    widget = opened(made.image, "network")
    run(widget, qtbot)
    before = [layer.name for layer in widget.viewer.layers]
    run(widget, qtbot)
    assert [layer.name for layer in widget.viewer.layers] == before


def test_the_methods_offered_are_those_measured(opened, qtbot, made) -> None:
    widget = opened(made.image, "lines")
    run(widget, qtbot)
    widget.viewer.add_labels(np.eye(9, dtype=np.uint8))
    assert widget.results.counted_by.choices == ("lines",)
    widget.methods["network"].value = True
    run(widget, qtbot)
    assert widget.results.counted_by.choices == ("lines", "network")


def test_the_files_hold_the_network(opened, qtbot, made, tmp_path) -> None:
    widget = opened(made.image, "network")
    run(widget, qtbot)
    widget.study.add_field()
    widget.study.write(tmp_path)
    qtbot.waitUntil(lambda: not widget.controls.is_running, timeout=30_000)
    found = json.loads((tmp_path / "grain_size.json").read_text("utf-8"))
    assert found["method"] == "network"
    assert f"{found['G']:.2f}" == widget.results.table.to_dataframe()["G"][0]
    provenance = found["fields"][0]["provenance"]
    assert provenance["line_network"] == "grain-line-net"
    assert "boundaries" not in provenance
    assert (tmp_path / "steel_network.png").is_file()


def test_no_method_is_refused(opened, made) -> None:
    widget = opened(made.image)
    widget.controls.run_button.native.click()
    assert "choose at least one method" in widget.controls.status.value
    assert set(METHODS) < set(widget.methods)
