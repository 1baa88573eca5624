"""The classifiers: golden parameter count, shapes and gradients (restorers and GANs have files of
their own)."""

import pytest
import torch

from atelier.networks.classifiers import CLASSIFIERS, build_classifier

CLASSIFIER = {"channels": 1, "num_classes": 10, "image_size": 28, "width": 8}


# The sum of the layers' sizes, counted by hand: a change makes registered models of the old shape
# incomparable.
def test_golden_parameter_count():
    assert (
        sum(parameter.numel() for parameter in build_classifier("cnn", **CLASSIFIER).parameters())
        == 9_330
    )


def test_every_classifier_has_a_test_here():
    assert list(CLASSIFIERS) == ["cnn"]


@pytest.mark.parametrize("size", [16, 28, 37])
def test_classifier_shapes(size):
    model = build_classifier("cnn", channels=3, num_classes=7, image_size=size, width=8).eval()
    x_BCHW = torch.rand(4, 3, size, size)
    assert model(x_BCHW).shape == (4, 7)
    assert model.features(x_BCHW).shape == (4, 32)
    torch.testing.assert_close(model(x_BCHW), model.head(model.features(x_BCHW)))


def test_classifier_features_are_at_most_128():
    model = build_classifier("cnn", **{**CLASSIFIER, "width": 48}).eval()
    assert model.features(torch.rand(2, 1, 28, 28)).shape == (2, 128)


def test_classifier_refuses_tiny_images():
    with pytest.raises(ValueError, match="image_size = 15"):
        build_classifier("cnn", **{**CLASSIFIER, "image_size": 15})


def test_every_parameter_gets_a_gradient():
    module = build_classifier("cnn", **CLASSIFIER).train()
    output_BK = module(torch.rand(8, 1, 28, 28))
    (output_BK * torch.randn(output_BK.shape)).sum().backward()
    assert [
        name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().any()
    ] == []
