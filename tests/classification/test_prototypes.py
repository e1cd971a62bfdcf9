from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.classification.prototypes import PrototypeHead, prototypes

WAYS, SHOTS, FEATURES = 4, 3, 6


def _episode(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    support = torch.randn(WAYS * SHOTS, FEATURES, generator=random)
    classes = torch.arange(WAYS).repeat(SHOTS)
    return support, classes, torch.randn(9, FEATURES, generator=random)


@given(st.integers(0, 500))
def test_logits_are_those_of_the_formulas(seed) -> None:
    support, classes, queries = _episode(seed)
    centres = prototypes(support, classes, WAYS)
    means = [support.numpy()[classes.numpy() == number].mean(0) for number in range(WAYS)]
    np.testing.assert_allclose(centres.numpy(), means, rtol=1e-5, atol=1e-6)
    cosine, euclidean = np.empty((9, WAYS)), np.empty((9, WAYS))
    for row, query in enumerate(queries.numpy().astype(float)):
        for column, mean in enumerate(means):
            lengths = np.linalg.norm(query) * np.linalg.norm(mean)
            cosine[row, column] = 10 * query @ mean / lengths
            euclidean[row, column] = -((query - mean) ** 2).sum()
    found = PrototypeHead("cosine")(queries, centres).detach().numpy()
    np.testing.assert_allclose(found, cosine, rtol=1e-4, atol=1e-4)
    found = PrototypeHead("euclidean")(queries, centres).numpy()
    np.testing.assert_allclose(found, euclidean, rtol=1e-4, atol=1e-4)


@given(st.integers(0, 200), st.floats(0.1, 50))
def test_cosines_do_not_depend_on_the_length_of_features(seed, factor) -> None:
    support, classes, queries = _episode(seed)
    head = PrototypeHead("cosine")
    expected = head(queries, prototypes(support, classes, WAYS))
    found = head(factor * queries, prototypes(factor * support, classes, WAYS))
    assert torch.allclose(found, expected, atol=1e-4)


def test_classes_may_have_different_numbers_of_examples() -> None:
    features = torch.tensor([[0.0, 2.0], [4.0, 0.0], [8.0, 0.0], [0.0, 4.0], [0.0, 6.0]])
    centres = prototypes(features, torch.tensor([1, 0, 0, 1, 1]), 2)
    assert torch.allclose(centres, torch.tensor([[6.0, 0.0], [0.0, 4.0]]))


def test_only_cosines_have_a_scale_to_learn() -> None:
    support, classes, queries = _episode(0)
    head = PrototypeHead("cosine")
    logits = head(queries, prototypes(support, classes, WAYS))
    torch.nn.functional.cross_entropy(logits, torch.zeros(9, dtype=torch.long)).backward()
    assert float(head.scale.grad) != 0
    assert not [*PrototypeHead("euclidean").parameters()]


def test_answers_agree_with_easyfsl() -> None:
    methods = pytest.importorskip("easyfsl.methods")
    support, classes, queries = _episode(7)
    network = methods.PrototypicalNetworks(torch.nn.Identity())
    network.process_support_set(support, classes)
    centres = prototypes(support, classes, WAYS)
    assert torch.allclose(network.prototypes, centres, atol=1e-5)
    logits = PrototypeHead("euclidean")(queries, centres)
    # Theirs are distances, ours their squares.
    assert torch.allclose(-(network(queries).square()), logits, atol=1e-4)
    cosine = 10 * network.cosine_distance_to_prototypes(queries)
    assert torch.allclose(cosine, PrototypeHead("cosine")(queries, centres), atol=1e-4)
