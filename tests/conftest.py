"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Small networks are fastest on one thread, and tests then do not fight over cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

# No deadline: the machines that run this differ tenfold in speed.
settings.register_profile("project", deadline=None, max_examples=20)
settings.load_profile("project")

if TYPE_CHECKING:
    from napari_metallography.segmentation.model import SegmentationModel

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several processes: viewers one after the other in one, the other modules anywhere."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        viewer = "_napari" in item.path.parts
        item.add_marker(pytest.mark.xdist_group("viewers" if viewer else str(item.path)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real micrographs that is not part of the repository."""
    if not _SHARED.is_dir():
        pytest.skip("the real micrographs are not at hand")
    return _SHARED


@pytest.fixture(scope="session")
def untrained() -> Callable[..., SegmentationModel]:
    """Makes a U-Net of random weights for classes of some names; more of its card as keywords."""

    def make(names: Sequence[str], *, seed: int = 0, **card: Any) -> SegmentationModel:
        import torch

        from napari_metallography.classes import named_classes
        from napari_metallography.models.card import DataSource, ModelCard, Network
        from napari_metallography.segmentation.model import SegmentationModel
        from napari_metallography.segmentation.networks import SegmentationNetwork

        stated: dict[str, Any] = {
            "name": "random",
            "network": Network(architecture="unet", encoder="efficientnet-lite0"),
            "data": DataSource(name="none", digest="0"),
            **card,
        }
        made = ModelCard(task="segmentation", classes=named_classes(names), **stated)
        torch.manual_seed(seed)
        network = SegmentationNetwork(made.network, len(names)).eval()
        return SegmentationModel(made, network, "0")

    return make


@pytest.fixture(scope="session")
def striped() -> Callable[..., NDArray[np.uint8]]:
    """Makes grey images (Y, X) of stripes in noise: "lying" or "upright" ones."""

    def make(name: str, seed: int, shape: tuple[int, int] = (48, 48)) -> NDArray[np.uint8]:
        random = np.random.default_rng([("lying", "upright").index(name), seed])
        image = random.normal(110, 8, shape)
        upright = name == "upright"
        bright = (np.arange(shape[upright]) + random.integers(8)) % 8 < 3
        image[(slice(None), bright) if upright else bright] += 80
        return np.clip(image, 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def stripes_model(
    striped: Callable[..., NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A defects model that tells lying from upright stripes, trained for some seconds."""
    import torch

    from napari_metallography.classification.confirmed import Confirmed, classified_planes
    from napari_metallography.classification.images import prepared
    from napari_metallography.events import drain
    from napari_metallography.models.card import DefectInput, Network
    from napari_metallography.plane import Plane
    from napari_metallography.training.defect_results import write_defect_results
    from napari_metallography.training.defects import DefectJob, train_defects
    from napari_metallography.training.recipe import DefectRecipe
    from napari_metallography.training.results import Description

    planes = [
        Confirmed(f"{name} {seed}", striped(name, seed), name)
        for name in ("lying", "upright")
        for seed in range(12)
    ]

    def show(plane: Plane, calibration: object) -> np.ndarray:
        return prepared(plane.rgb8(slice(0, 48), slice(0, 48)), (48, 48), 90)

    images = drain(classified_planes(planes, show))
    held_out = np.arange(len(images)) % 4 == 0
    job = DefectJob(
        images.where(~held_out),
        images.where(held_out),
        Network(architecture="pdmsnet", encoder="none"),
        DefectInput(side=48, window_px=48),
        # With this seed the last ReLU lets both classes through from the start.
        DefectRecipe(
            iterations=24,
            batch_size=8,
            learning_rate=0.003,
            validate_every=24,
            augmentation="flips",
            seed=3,
        ),
        torch.device("cpu"),
    )
    path = tmp_path_factory.mktemp("stripes") / "stripes.safetensors"
    trained = drain(train_defects(job))
    write_defect_results(path, job, trained, Description("stripes"))
    return path


@pytest.fixture(scope="session")
def noisy() -> Callable[..., NDArray[np.uint8]]:
    """Makes grey images (Y, X) of noise: "dark" or "bright" ones, "grey" or "none" between them."""
    levels = {"dark": 60, "bright": 180, "grey": 120, "none": 120}

    def make(name: str, seed: int, shape: tuple[int, int] = (72, 80)) -> NDArray[np.uint8]:
        noise = np.random.default_rng([seed, levels[name]]).normal(levels[name], 9, shape)
        return np.clip(noise, 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def noise_model(noisy: Callable[..., NDArray[np.uint8]]) -> Callable[..., Path]:
    """Writes a network of random weights whose Gaussians lie where dark and bright images do.

    As keywords the files it learnt from, and more of its input.
    """
    import torch

    from napari_metallography.classes import named_classes
    from napari_metallography.classification.structure_model import (
        StructureNetwork,
        save_structure_model,
    )
    from napari_metallography.models.card import (
        DataSource,
        ModelCard,
        Network,
        Normalisation,
        StructureInput,
    )

    names = ("dark", "bright")

    def write(path: Path, *, images: Sequence[str] = (), **shown: Any) -> Path:
        torch.manual_seed(0)
        stated = {"side": 32, "smallest_px": 32, "largest_px": 64, "px_per_um": (2.0, 20.0)}
        structure = StructureInput(**{**stated, **shown, "crops": 8})
        card = ModelCard(
            name=path.stem,
            task="structure",
            network=Network(architecture="triplets", encoder="resnet18"),
            classes=named_classes(names),
            structure=structure,
            pixel_size_um=(0.04, 0.4),
            normalisation=Normalisation(mean=(100, 100, 100), std=(50, 50, 50)),
            data=DataSource(name="none", digest="0", images=tuple(images)),
        )
        network = StructureNetwork(2, structure).eval()
        seen = [torch.from_numpy(noisy(name, n, (32, 32))) for name in names for n in range(4)]
        with torch.no_grad():
            crops = (torch.stack(seen)[:, None].float() - 100) / 50
            descriptors = network(crops, torch.zeros(8))
        classes = torch.arange(2).repeat_interleave(4)
        network.gaussians.fit(descriptors, classes, torch.arange(8), 0.01)
        network.gaussians.threshold = torch.tensor([-1e4])
        save_structure_model(path, card, network)
        return path

    return write
