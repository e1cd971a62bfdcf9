"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Small networks are fastest on one thread, and tests then do not fight over cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# No deadline: the machines that run this differ tenfold in speed.
settings.register_profile("project", deadline=None, max_examples=40)
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
