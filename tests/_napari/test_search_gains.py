from __future__ import annotations

from napari_metallography._napari.search_gains import SearchGains, gains_frame
from napari_metallography.training.search import Search, Trained


def score(miou: float, count_error: int, radius_um: float | None = None) -> dict[str, object]:
    particles = {
        "count_error": count_error,
        "mean_radius_error_px": 0.5,
        "mean_radius_error_um": radius_um,
    }
    iou = {"matrix": miou, "carbides": None}
    return {"miou": miou, "iou": iou, "particles": {"carbides": particles}}


def found(radius_um: float | None = None) -> Search:
    baseline = Trained("baseline", (), score(0.5, 3, radius_um))
    return Search((baseline, Trained("transfer", ("transfer",), score(0.625, -2, radius_um))))


def test_gains_are_shown_as_the_paper_prints_them() -> None:
    shown = gains_frame(found())
    assert shown.to_dict("list") == {
        "recipe": ["baseline", "transfer"],
        "mIoU (%)": ["50.00", "62.50"],
        "gain (points)": ["+0.00", "+12.50"],
        "matrix IoU (%)": ["50.00", "62.50"],
        "carbides count error (n)": ["+3", "-2"],
        "carbides radius error (px)": ["+0.50", "+0.50"],
    }


def test_radii_are_in_um_where_pixel_sizes_are_known() -> None:
    assert list(gains_frame(found(-0.25))["carbides radius error (µm)"]) == ["-0.25", "-0.25"]


def test_the_best_is_named(qtbot) -> None:
    table = SearchGains(found())
    qtbot.addWidget(table)
    assert table.note.value.endswith("Best: transfer.")
    assert table.table.shape == (2, 6)
