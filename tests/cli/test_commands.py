import json
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import DeviceError
from napari_metallography.io.labels import LabelImage, read_labels, write_labels
from napari_metallography.regions import Field
from napari_metallography.samples import sample_path
from napari_metallography.segmentation.model import save_model

CLASSES = named_classes(["matrix", "carbide"])


def _discs(shape=(120, 160)) -> np.ndarray:
    truth = np.zeros(shape, np.uint8)
    for centre in ((30, 30), (60, 100), (90, 50)):
        cv2.circle(truth, centre[::-1], 12, 1, -1)
    return truth


def _micrograph(truth: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 8, truth.shape)
    return np.clip(np.where(truth == 1, 200, 80) + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two micrographs with their truth and an index."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(2):
        truth = np.roll(_discs(), 5 * number, axis=1)
        tifffile.imwrite(tmp_path / f"images/steel{number}.tif", _micrograph(truth, number))
        tifffile.imwrite(tmp_path / f"labels/steel{number}.tif", truth)
    rows = ["image,pixel_size_um,specimen", "steel0.tif,0.5,A", "steel1.tif,0.25,B"]
    (tmp_path / "images/index.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


@pytest.fixture
def model(untrained, tmp_path: Path) -> Path:
    """An untrained network of two classes."""
    path = tmp_path / "random.safetensors"
    made = untrained([phase.name for phase in CLASSES], pixel_size_um=(0.2, 0.6))
    save_model(path, made.card, made.network)
    return path


def test_info_prints_a_line_of_json_for_each_image(run, data) -> None:
    done = run("info", data / "images", sample_path("xsdd3001"))
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert [line["pixel_size_um"] for line in lines] == [0.5, 0.25, None]
    assert [line["shape"] for line in lines[:2]] == [[120, 160], [120, 160]]
    assert lines[0]["dtype"] == "uint8"
    assert "index.csv" in lines[0]["calibration_source"]
    assert lines[2]["calibration_source"] is None


def test_a_stated_pixel_size_overrides_everything(run, data) -> None:
    done = run("info", data / "images/steel0.tif", "--pixel-size", "2")
    assert json.loads(done.out)["pixel_size_um"] == 2


def test_threshold_then_quantify_gives_the_discs(run, data, tmp_path) -> None:
    labels, tables = tmp_path / "out", tmp_path / "tables"
    assert run("segment", data / "images", "-o", labels, "--method", "threshold").code == 0
    read = read_labels(labels / "steel0_labels.tif")
    assert read.calibration is not None
    assert read.calibration.mean_um == 0.5
    assert (read.indices == _discs()).mean() > 0.999
    assert run("quantify", labels, "-o", tables, "--smallest-area", 9).code == 0
    expected = {"phases.csv", "particles.csv", "statistics.json", "study.xlsx", "report.html"}
    assert {path.name for path in tables.iterdir()} == expected
    particles = pd.read_csv(tables / "particles.csv")
    coarse = particles[particles["image"] == "steel0.tif"]
    fine = particles[particles["image"] == "steel1.tif"]
    assert len(coarse) == len(fine) == 3
    radius = np.sqrt((_discs() == 1).sum() / 3 / np.pi)
    assert coarse["equivalent_radius_um"].mean() == pytest.approx(0.5 * radius, rel=0.01)
    assert fine["equivalent_radius_um"].mean() == pytest.approx(0.25 * radius, rel=0.01)
    statistics = json.loads((tables / "statistics.json").read_text(encoding="utf-8"))
    assert statistics["n_fields"] == 2
    summary = pd.read_csv(labels / "summary.csv")
    assert summary.groupby("image")["area_fraction"].sum().tolist() == pytest.approx([1, 1])


def test_labels_of_a_former_run_are_replaced_only_when_asked(run, data, tmp_path) -> None:
    images = data / "images"
    again = ("-o", tmp_path / "out", "--method", "threshold", "--region", "0,0,50,50")
    assert run("segment", images / "steel1.tif", "-o", tmp_path / "out", *again[2:4]).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    done = run("segment", images, *again)
    assert done.code == 2
    assert len(done.errors) == 1
    assert "steel1_labels.tif: exists already" in done.errors[0]
    assert "--overwrite" in done.errors[0]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert run("segment", images, *again, "--overwrite").code == 0
    assert (read_labels(tmp_path / "out/steel1_labels.tif").indices[50:] == 255).all()


def test_a_model_segments_and_says_what_it_did(run, data, model, tmp_path) -> None:
    out = tmp_path / "out"
    done = run("segment", data / "images/steel0.tif", "-o", out, "--model", model, "--uncertainty")
    assert done.code == 0
    read = read_labels(out / "steel0_labels.tif")
    assert read.classes == CLASSES
    assert read.provenance["model"] == "random"
    assert len(read.provenance["model_digest"]) == 64
    with tifffile.TiffFile(out / "steel0_uncertainty.tif") as tiff:
        page = tiff.pages.first
        assert page.shape == (120, 160)
        pixels, centimetres = page.tags["XResolution"].value
        assert page.tags["ResolutionUnit"].value.name == "CENTIMETER"
        assert 1e4 * centimetres / pixels == pytest.approx(0.5)


def test_a_pixel_size_far_from_the_trained_ones_is_noted(run, data, model, tmp_path) -> None:
    image = data / "images/steel0.tif"
    far = ("segment", image, "-o", tmp_path / "o", "--model", model, "--pixel-size", "2")
    assert "--resample" in run(*far).err
    assert "note" not in run(*far, "--resample", "--overwrite").err
    factor = read_labels(tmp_path / "o/steel0_labels.tif").provenance["resampled_by"]
    assert factor == pytest.approx(2 / 0.6)


def test_a_region_restricts_segmentation_and_area(run, data, tmp_path) -> None:
    out = tmp_path / "out"
    region = "20,10,70,110"
    run(
        "segment",
        data / "images/steel0.tif",
        "-o",
        out,
        "--method",
        "threshold",
        "--region",
        region,
    )
    indices = read_labels(out / "steel0_labels.tif").indices
    inside = np.zeros(indices.shape, bool)
    inside[20:70, 10:110] = True
    assert (indices[~inside] == 255).all()
    assert (indices[inside] != 255).all()
    run("quantify", out, "-o", out)
    phases = pd.read_csv(out / "phases.csv")
    assert phases["field_area_um2"].tolist() == pytest.approx([50 * 100 * 0.25] * 2)


def test_a_stack_keeps_its_planes(run, tmp_path) -> None:
    stack = np.stack([_micrograph(_discs(), seed) for seed in range(3)])
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    out = tmp_path / "out"
    done = run("segment", tmp_path / "stack.tif", "-o", out, "--method", "threshold")
    assert done.code == 0
    assert read_labels(out / "stack_labels.tif").indices.shape == stack.shape


def test_train_evaluate_and_the_files_between(run, data, tmp_path, model) -> None:
    trained = tmp_path / "models" / "mine.safetensors"
    train = (
        *("train", "segmentation", "--images", data / "images", "--labels", data / "labels"),
        *("--val-images", data / "images", "--val-labels", data / "labels", "-o", trained),
        *("--encoder-weights", "random", "--iterations", 2, "--crop", 32, "--batch-size", 2),
        *("--classes", "matrix,carbide", "--seed", 3),
    )
    done = run(*train)
    assert done.code == 0, done.err
    history = pd.read_csv(trained.with_name("history.csv"))
    assert history["iteration"].tolist() == [1, 2]
    assert json.loads(trained.with_name("training.json").read_text(encoding="utf-8"))["recipe"]
    assert not list(trained.parent.glob("*.checkpoint.*"))
    card = json.loads(run("models", "info", trained).out)
    assert card["pixel_size_um"] == [0.25, 0.5]
    assert [c["name"] for c in card["classes"]] == ["matrix", "carbide"]
    assert "exists already" in run(*train).errors[0]

    scores, maps = tmp_path / "scores.json", tmp_path / "maps"
    folders = ("--images", data / "images", "--labels", data / "labels")
    evaluate = ("evaluate", "segmentation", "--model", trained, *folders, "-o", scores)
    assert run(*evaluate, "--error-maps", maps).code == 0
    result = json.loads(scores.read_text(encoding="utf-8"))
    assert 0 <= result["miou"] <= 1
    assert set(result["iou"]) == {"matrix", "carbide"}
    assert {"precision", "recall", "count_error"} <= set(result["particles"]["carbide"])
    assert len(list(maps.glob("*.png"))) == 2


def test_what_labels_without_names_mean_is_said(run, data, tmp_path, model) -> None:
    said = "taken as class indices: 0 = matrix, 1 = class 1, 255 = unlabelled"
    labels = ("--labels", data / "labels")
    scores = ("--model", model, "--images", data / "images", *labels, "-o", tmp_path / "s.json")
    quick = ("--no-flips", "--no-multi-scale")
    scored = run("evaluate", "segmentation", *scores, *quick)
    assert scored.code == 0, scored.err
    assert f"note: {data / 'labels'}: 2 without class names {said}" in scored.err.splitlines()
    one = data / "labels/steel0.tif"
    measured = run("quantify", one, "-o", tmp_path / "o", "--pixel-size", "0.5")
    assert f"note: steel0.tif: {said}" in measured.err.splitlines()
    truth = tifffile.imread(one)
    # As napari saves a Labels layer.
    tifffile.imwrite(one, truth + 1, compression="zlib", compressionargs={"level": 1})
    shifted = run("quantify", one, "-o", tmp_path / "o", "--pixel-size", "0.5").err
    assert "there is no 0, as if napari had saved a Labels layer" in shifted


def test_a_model_is_exported_to_onnx(run, model, tmp_path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    exported = tmp_path / "random.onnx"
    assert run("models", "export", model, "-o", exported).code == 0
    session = onnxruntime.InferenceSession(exported)
    images = np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype(np.float32)
    (logits,) = session.run(None, {"images": images})
    import torch

    from napari_metallography.segmentation.model import load_model

    with torch.inference_mode():
        expected = load_model(str(model)).network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-3)


def _bad_files(folder: Path) -> dict[str, Path]:
    files = {
        "empty": b"",
        "text": b"not an image",
        "truncated": sample_path("uhcs1061").read_bytes()[:9000],
    }
    for name, content in files.items():
        (folder / f"{name}.tif").write_bytes(content)
    tifffile.imwrite(folder / "constant.tif", np.full((50, 50), 7, np.uint8))
    tifffile.imwrite(folder / "nan.tif", np.full((50, 50), np.nan, np.float32))
    pixels = np.arange(2500, dtype=np.float32).reshape(50, 50)
    pixels[3, 3] = np.inf
    tifffile.imwrite(folder / "inf.tif", pixels)
    write_labels(
        folder / "mask.tif",
        LabelImage(_discs(), CLASSES, Calibration.square(1, "test"), Field((120, 160))),
    )
    return {path.stem: path for path in folder.glob("*.tif")}


def test_every_bad_image_gets_one_line_and_leaves_nothing(run, tmp_path, model) -> None:
    (tmp_path / "bad").mkdir()
    files = _bad_files(tmp_path / "bad")
    assert len(files) == 7
    for method in (("--method", "threshold"), ("--model", model)):
        for path in files.values():
            out = tmp_path / "out"
            done = run("segment", path, "-o", out, *method)
            assert done.code == 2, path
            assert len(done.errors) == 1, done.err
            assert path.name in done.errors[0]
            assert "Traceback" not in done.err
            assert not out.exists()


def test_a_bad_file_does_not_stop_the_good_ones(run, data, tmp_path) -> None:
    (data / "images/broken.tif").write_bytes(b"broken")
    done = run("segment", data / "images", "-o", tmp_path / "o", "--method", "threshold")
    assert done.code == 2
    assert len(done.errors) == 1
    assert len(list((tmp_path / "o").glob("*_labels.tif"))) == 2


@pytest.mark.parametrize("shape", [(1, 1), (20, 3000)])
def test_odd_shapes(run, tmp_path, model, shape) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "odd.tif", image)
    done = run("segment", tmp_path / "odd.tif", "-o", tmp_path / "o", "--model", model)
    if shape == (1, 1):
        assert done.code == 2
        assert "same value" in done.errors[0]
    else:
        assert done.code == 0
        assert read_labels(tmp_path / "o/odd_labels.tif").indices.shape == shape


@pytest.mark.parametrize("kind", [DeviceError, MemoryError])
def test_what_is_segmented_before_the_device_fails_is_kept(
    run, data, tmp_path, monkeypatch, kind: type[Exception]
) -> None:
    from napari_metallography.segmentation import files

    read = files.read_image

    def fail(path: Path, sizes: object) -> object:
        if path.stem == "steel1":
            raise kind("the device ran out of memory")
        return read(path, sizes)

    monkeypatch.setattr(files, "read_image", fail)
    done = run("segment", data / "images", "-o", tmp_path / "out", "--method", "threshold")
    assert done.code == 1
    assert len(done.errors) == 1
    assert "steel1.tif: the device ran out of memory" in done.errors[0]
    assert set(pd.read_csv(tmp_path / "out/summary.csv")["image"]) == {"steel0.tif"}
    assert (tmp_path / "out/steel0_labels.tif").exists()


def test_without_a_pixel_size_no_physical_number_is_written(run, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "x_labels.tif", _discs())
    done = run("quantify", tmp_path / "x_labels.tif", "-o", tmp_path / "o")
    assert done.code == 0
    assert "all tables are in pixels; give --pixel-size" in done.err
    assert not [name for name in pd.read_csv(tmp_path / "o/phases.csv") if "_um" in name]
    again = run("quantify", tmp_path / "x_labels.tif", "-o", tmp_path / "o", "--pixel-size", 0.5)
    assert again.code == 0


@pytest.mark.parametrize("kind", ["pickle", "noise", "missing", "unknown"])
def test_bad_models_are_refused(run, data, tmp_path, kind) -> None:
    path = tmp_path / "bad.safetensors"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({}))
    elif kind == "noise":
        path.write_bytes(b"x" * 1000)
    name = "no-such-model" if kind == "unknown" else path
    done = run("segment", data / "images", "-o", tmp_path / "o", "--model", name)
    assert done.code == 2
    assert len(done.errors) == 1
    assert not (tmp_path / "o").exists()


def test_labels_with_too_many_classes_are_refused(run, data, model, tmp_path) -> None:
    labels = tifffile.imread(data / "labels/steel0.tif")
    labels[0, 0] = 5
    tifffile.imwrite(data / "labels/steel0.tif", labels)
    folders = ("--images", data / "images", "--labels", data / "labels")
    done = run(
        "evaluate", "segmentation", "--model", model, *folders, "-o", tmp_path / "scores.json"
    )
    assert done.code == 2
    assert "label 5" in done.errors[0]
    assert not (tmp_path / "scores.json").exists()


def test_two_inputs_of_one_name_are_refused(run, data, tmp_path) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    (twin / "steel0.tif").write_bytes((data / "images/steel0.tif").read_bytes())
    done = run(
        "segment",
        data / "images",
        twin / "steel0.tif",
        "-o",
        tmp_path / "o",
        "--method",
        "threshold",
    )
    assert done.code == 2
    assert "would write the same result" in done.errors[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["segment"], "Missing argument"),
        (["segment", "a.tif", "-o", "out", "--bogus"], "No such option: --bogus"),
        (["segment", "a.tif", "-o", "out", "--method", "magic"], "--method"),
        (["frobnicate"], "No such command"),
        (["train", "segmentation", "--iterations", "many"], "--iterations"),
    ],
)
def test_usage_errors_are_one_line(run, arguments, said) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert len(done.err.splitlines()) == len(done.errors) == 1, done.err
    assert said in done.errors[0]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["train"], ["models", "--help"]])
def test_help_is_shown(run, arguments) -> None:
    done = run(*arguments)
    assert (done.code, done.err) == (0, "")
    assert "Usage:" in done.out
    assert "Commands:" in done.out


def test_stopping_is_said_in_one_line(run, data, monkeypatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_metallography.inputs.read_image", stop)
    done = run("info", data / "images")
    assert done.code == 130
    assert done.errors == ["error: stopped"]


def test_a_file_that_may_not_be_read_does_not_stop_the_others(run, data, monkeypatch) -> None:
    from napari_metallography import inputs

    read = inputs.read_image

    def refuse(path: Path, sizes: inputs.PixelSizes) -> object:
        if path.stem == "steel0":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, sizes)

    monkeypatch.setattr(inputs, "read_image", refuse)
    done = run("info", data / "images")
    assert done.code == 2
    assert len(done.errors) == 1
    assert "steel0.tif: Permission denied" in done.errors[0]
    assert len(done.out.splitlines()) == 1


@pytest.mark.parametrize(
    "signs",
    [("--decimal", ","), ("--separator", ""), ("--separator", ";;"), ("--decimal", "x")],
)
def test_signs_that_make_no_table_are_refused_before_measuring(run, tmp_path, signs) -> None:
    done = run("quantify", tmp_path / "missing.tif", "-o", tmp_path / "o", *signs)
    assert done.code == 2
    assert len(done.errors) == 1
    assert signs[0] in done.errors[0]
    assert not (tmp_path / "o").exists()


def test_decimal_commas(run, data, tmp_path) -> None:
    labels = data / "labels/steel0.tif"
    signs = ("--decimal", ",", "--separator", ";")
    assert run("quantify", labels, "-o", tmp_path / "o", "--pixel-size", 0.5, *signs).code == 0
    phases = pd.read_csv(tmp_path / "o/phases.csv", sep=";", decimal=",")
    assert phases["field_area_um2"].tolist() == pytest.approx([120 * 160 * 0.25] * 2)


def test_a_bad_region_is_refused_before_the_model_is_sought(run, data, tmp_path) -> None:
    image = data / "images/steel0.tif"
    done = run("segment", image, "-o", tmp_path / "o", "--model", "none", "--region", "5,5,1,1")
    assert done.code == 2
    assert "region" in done.errors[0]


def test_info_takes_two_images_of_one_name(run, data, tmp_path) -> None:
    twin = tmp_path / "steel0.tif"
    twin.write_bytes((data / "images/steel0.tif").read_bytes())
    assert len(run("info", data / "images", twin).out.splitlines()) == 3


def test_labels_without_a_pixel_size_take_their_images(run, data, tmp_path) -> None:
    folders = ("-o", tmp_path / "o", "--images", data / "images")
    assert run("quantify", data / "labels", *folders).code == 0
    phases = pd.read_csv(tmp_path / "o/phases.csv").groupby("image")["field_area_um2"].first()
    assert phases.to_dict() == pytest.approx(
        {"steel0.tif": 120 * 160 * 0.5**2, "steel1.tif": 120 * 160 * 0.25**2}
    )


def test_one_image_cannot_serve_several_labels(run, data, tmp_path) -> None:
    image = data / "images/steel0.tif"
    done = run("quantify", data / "labels", "-o", tmp_path / "o", "--images", image)
    assert done.code == 2
    assert len(done.errors) == 1
    assert "one image for 2 labels" in done.errors[0]


def test_an_exported_model_replaces_nothing(run, model, tmp_path) -> None:
    assert "ends in .onnx" in run("models", "export", model, "-o", model).errors[0]
    kept = tmp_path / "kept.onnx"
    kept.write_bytes(b"kept")
    done = run("models", "export", model, "-o", kept)
    assert done.code == 2
    assert "exists already" in done.errors[0]
    assert kept.read_bytes() == b"kept"


def test_class_names_of_a_card_do_not_lead_out_of_the_folder(
    run, data, untrained, tmp_path
) -> None:
    made = untrained(["matrix", "x/../../../escaped"], name="foreign")
    foreign = tmp_path / "foreign.safetensors"
    save_model(foreign, made.card, made.network)
    maps = tmp_path / "deep/maps"
    folders = ("--images", data / "images", "--labels", data / "labels")
    run(
        *("evaluate", "segmentation", "--model", foreign, *folders),
        *("-o", tmp_path / "scores.json", "--error-maps", maps),
    )
    assert sorted(p.name for p in tmp_path.rglob("*.png")) == [
        "steel0_class1.png",
        "steel1_class1.png",
    ]
    assert len(list(maps.iterdir())) == 2


def test_an_interrupted_training_keeps_a_checkpoint_and_goes_on(data, tmp_path) -> None:
    model = tmp_path / "mine.safetensors"
    checkpoint = tmp_path / "mine.checkpoint.safetensors"
    command = [
        *(sys.executable, "-m", "napari_metallography", "train", "segmentation"),
        *("--images", data / "images", "--labels", data / "labels", "-o", model),
        *("--encoder-weights", "random", "--crop", "32", "--batch-size", "2"),
    ]
    started = subprocess.Popen(
        [*map(str, command), "--iterations", "5000"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "stopped" in err
    assert checkpoint.exists()
    assert not model.exists()
    again = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "--resume" in again.stderr


@pytest.mark.parametrize("region", ["0,0,121,160", "0,0,120,161", "500,500,600,600"])
def test_a_region_beyond_the_image_is_refused(run, data, tmp_path, region) -> None:
    image = data / "images/steel0.tif"
    where = ("-o", tmp_path / "o", "--method", "threshold", "--region", region)
    done = run("segment", image, *where)
    assert done.code == 2
    assert len(done.errors) == 1
    assert "beyond the image of 120 rows and 160 columns" in done.errors[0]
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("command", ["segment", "info"])
def test_foreign_labels_are_not_segmented(run, data, model, tmp_path, command) -> None:
    options = ("-o", tmp_path / "o", "--model", model) if command == "segment" else ()
    done = run(command, data / "labels/steel0.tif", *options)
    assert done.code == 2
    assert "label image" in done.errors[0]
    assert not (tmp_path / "o").exists()


def test_a_mask_is_thresholded_but_given_to_no_network(run, data, model, tmp_path) -> None:
    mask = data / "mask.png"
    mask.write_bytes(cv2.imencode(".png", _discs() * 255)[1].tobytes())
    refused = run("segment", mask, "-o", tmp_path / "o", "--model", model)
    assert refused.code == 2
    assert "--method threshold" in refused.errors[0]
    assert not (tmp_path / "o").exists()
    assert run("segment", mask, "-o", tmp_path / "o", "--method", "threshold").code == 0
    assert (read_labels(tmp_path / "o/mask_labels.tif").indices == _discs()).all()


def test_folders_in_a_folder_are_named(run, data) -> None:
    done = run("info", data)
    assert done.code == 2
    assert done.errors[0].endswith(f"not searched; name one, such as {data / 'images'}")


def test_results_into_a_file_are_refused_before_any_work(run, data, tmp_path, monkeypatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("napari_metallography.inputs.read_micrograph", read)
    taken = tmp_path / "taken"
    taken.write_bytes(b"kept")
    folders = ("--images", data / "images", "--labels", data / "labels")
    score = ("evaluate", "segmentation", "--model", "uhcs-carbides", *folders)
    for arguments in (
        ("segment", data / "images", "-o", taken),
        ("quantify", data / "labels", "-o", taken / "in/it"),
        ("demo", "-o", taken),
        (*score, "-o", tmp_path / "scores.json", "--error-maps", taken),
    ):
        done = run(*arguments)
        assert done.code == 2
        assert (
            done.err.splitlines()
            == done.errors
            == [f"error: {taken}: is a file; name a folder for the results"]
        )
    assert "is a folder; name a file" in run(*score, "-o", tmp_path).errors[0]
    assert taken.read_bytes() == b"kept"
    if Path("/proc/self").exists():
        for command in (("segment", data / "images"), ("quantify", data / "labels"), ("demo",)):
            done = run(*command, "-o", "/proc/new")
            assert done.code == 2
            assert done.err.startswith("error: /proc/new: cannot be written (")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--architecture", "unet"),
        ("--encoder-weights", "random"),
        ("--enlargement", 2),
    ],
)
def test_a_model_to_start_from_settles_the_network(run, data, model, tmp_path, option, value):
    folders = ("--images", data / "images", "--labels", data / "labels")
    stated = ("--start-from", model, option, value, "-o", tmp_path / "new/mine.safetensors")
    done = run("train", "segmentation", *folders, *stated)
    assert done.code == 2
    assert done.errors == [f"error: {option} cannot go with --start-from: the model settles it"]
