"""Every network of the build tables: golden parameter count, shapes, ranges, and independence of the batch."""

import pytest
import torch

from atelier.networks.classifiers import CLASSIFIERS, build_classifier
from atelier.networks.discriminators import DISCRIMINATORS, build_discriminator
from atelier.networks.generators import GENERATORS, build_generator
from atelier.networks.restorers import RESTORERS, CrnnRestorer, build_restorer

CLASSIFIER = {"channels": 1, "num_classes": 10, "image_size": 28, "width": 8}
CNN = {"channels": 3, "width": 8, "depth": 4}
CRNN = {"channels": 3, "width": 8, "iterations": 3}
GENERATOR = {"channels": 1, "image_size": 28, "num_classes": 10, "latent_dim": 16, "width": 8}
DISCRIMINATOR = {"channels": 1, "image_size": 28, "num_classes": 10, "width": 8}


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def randomise(module: torch.nn.Module) -> torch.nn.Module:
    """Moves every weight and running statistic off its initial value: zero-initialised layers would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = 0.1 * torch.randn(tensor.shape, generator=generator)
            tensor.add_(noise.abs() if name.endswith("running_var") else noise)
    return module


# The sums of the layers' sizes, counted by hand: a change makes registered models of the old shape incomparable.
@pytest.mark.parametrize(
    ("module", "golden"),
    [
        (build_classifier("cnn", **CLASSIFIER), 9_330),
        (build_restorer("cnn", **CNN), 2_916),
        (build_restorer("crnn", **CRNN), 22_876),
        (build_generator("dcgan", **GENERATOR), 31_476),
        (build_discriminator("dcgan", **DISCRIMINATOR), 22_873),
    ],
    ids=["classifier", "cnn", "crnn", "generator", "discriminator"],
)
def test_golden_parameter_count(module, golden):
    assert num_parameters(module) == golden


def test_every_network_has_a_test_here():
    tables = (CLASSIFIERS, RESTORERS, GENERATORS, DISCRIMINATORS)
    assert [sorted(table) for table in tables] == [["cnn"], ["cnn", "crnn"], ["dcgan"], ["dcgan"]]


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


@pytest.mark.parametrize(("name", "kwargs"), [("cnn", CNN), ("crnn", CRNN)])
@pytest.mark.parametrize("upscale", [1, 2])
@pytest.mark.parametrize("size", [(37, 31), (28, 28), (5, 3)])
def test_restorer_shapes(name, kwargs, upscale, size):
    model = randomise(build_restorer(name, **kwargs, upscale=upscale)).eval()
    y_BCHW = torch.rand(2, 3, *size)
    x_hat_BCHW = model(y_BCHW)
    assert x_hat_BCHW.shape == (2, 3, size[0] * upscale, size[1] * upscale)
    assert torch.equal(model.estimates(y_BCHW)[-1], x_hat_BCHW)


@pytest.mark.parametrize(("name", "kwargs"), [("cnn", CNN), ("crnn", CRNN)])
def test_restorer_starts_as_the_identity(name, kwargs):
    y_BCHW = torch.randn(2, 3, 37, 31)
    assert torch.equal(build_restorer(name, **kwargs)(y_BCHW), y_BCHW)


@pytest.mark.parametrize(("name", "kwargs"), [("cnn", CNN), ("crnn", CRNN)])
def test_super_resolution_starts_as_bicubic(name, kwargs):
    y_BCHW = torch.rand(2, 3, 19, 15)
    bicubic_BCHW = torch.nn.functional.interpolate(y_BCHW, scale_factor=2, mode="bicubic", align_corners=False)
    torch.testing.assert_close(build_restorer(name, **kwargs, upscale=2)(y_BCHW), bicubic_BCHW)


@pytest.mark.parametrize(("name", "kwargs", "multiple"), [("cnn", CNN, 2), ("crnn", CRNN, 4)])
def test_odd_image_equals_its_replicated_padding(name, kwargs, multiple):
    model = randomise(build_restorer(name, **kwargs)).eval()
    y_BCHW = torch.rand(1, 3, 37, 31)
    padded_BCHW = torch.nn.functional.pad(y_BCHW, (0, -31 % multiple, 0, -37 % multiple), mode="replicate")
    torch.testing.assert_close(model(y_BCHW), model(padded_BCHW)[..., :37, :31])


def test_crnn_iterations_are_chosen_at_run_time_and_are_a_prefix():
    model = randomise(build_restorer("crnn", **CRNN)).eval()
    y_BCHW = torch.rand(2, 3, 37, 31)
    estimates = model.estimates(y_BCHW, iterations=5)
    assert len(estimates) == 5
    assert len(model.estimates(y_BCHW)) == 3
    assert torch.equal(model(y_BCHW, iterations=2), estimates[1])
    assert torch.equal(model(y_BCHW), estimates[2])
    assert not torch.allclose(estimates[1], estimates[0])


def test_crnn_shares_its_weights_over_the_iterations():
    assert num_parameters(CrnnRestorer(1, 8, iterations=1)) == num_parameters(CrnnRestorer(1, 8, iterations=9))


def test_crnn_state_carries_memory():
    model = randomise(CrnnRestorer(1, 8, iterations=1)).eval()
    y_BCHW = torch.rand(1, 1, 16, 16)
    x_hat_BCHW, state_BFqr = model._step(y_BCHW, y_BCHW, None)
    with_memory_BCHW, _ = model._step(y_BCHW, x_hat_BCHW, state_BFqr)
    without_memory_BCHW, _ = model._step(y_BCHW, x_hat_BCHW, None)
    assert not torch.allclose(with_memory_BCHW, without_memory_BCHW)


@pytest.mark.parametrize("size", [16, 20, 28, 32, 36, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_generator_and_discriminator_shapes(size, channels):
    shape = {"channels": channels, "image_size": size, "num_classes": 4}
    generator = build_generator("dcgan", **shape, latent_dim=16, width=8)
    discriminator = build_discriminator("dcgan", **shape, width=8)
    labels_B = torch.arange(4)
    x_BCHW = generator(torch.randn(4, 16), labels_B)
    assert x_BCHW.shape == (4, channels, size, size)
    assert x_BCHW.abs().max() <= 1
    assert discriminator(x_BCHW, labels_B).shape == (4,)


@pytest.mark.parametrize("size", [12, 30])
def test_gan_networks_refuse_sizes_they_cannot_make(size):
    with pytest.raises(ValueError, match=f"image_size = {size} is not a multiple of 4"):
        build_generator("dcgan", **{**GENERATOR, "image_size": size})
    with pytest.raises(ValueError, match=f"image_size = {size} is not a multiple of 4"):
        build_discriminator("dcgan", **{**DISCRIMINATOR, "image_size": size})


def test_generated_image_depends_on_its_latent_and_label_but_not_on_the_batch():
    model = randomise(build_generator("dcgan", **GENERATOR)).eval()
    z_BZ, labels_B = torch.randn(6, 16), torch.tensor([0, 1, 2, 3, 4, 4])
    x_BCHW = model(z_BZ, labels_B)
    torch.testing.assert_close(model(z_BZ[2:3], labels_B[2:3]), x_BCHW[2:3])
    assert not torch.allclose(model(z_BZ[2:3], labels_B[3:4]), x_BCHW[2:3])
    assert not torch.allclose(x_BCHW[4], x_BCHW[5])


def test_discriminator_logit_depends_on_its_label_but_not_on_the_batch():
    model = randomise(build_discriminator("dcgan", **DISCRIMINATOR))
    x_BCHW, labels_B = torch.rand(6, 1, 28, 28), torch.arange(6)
    logits_B = model(x_BCHW, labels_B)
    torch.testing.assert_close(model(x_BCHW[2:3], labels_B[2:3]), logits_B[2:3])
    assert not torch.allclose(model(x_BCHW[2:3], labels_B[3:4]), logits_B[2:3])


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (build_classifier("cnn", **CLASSIFIER), (torch.rand(8, 1, 28, 28),)),
        (build_restorer("cnn", **CNN), (torch.rand(2, 3, 37, 31),)),
        (build_restorer("crnn", **CRNN), (torch.rand(2, 3, 37, 31),)),
        (build_generator("dcgan", **GENERATOR), (torch.randn(10, 16), torch.arange(10))),
        (build_discriminator("dcgan", **DISCRIMINATOR), (torch.rand(10, 1, 28, 28), torch.arange(10))),
    ],
    ids=["classifier", "cnn", "crnn", "generator", "discriminator"],
)
def test_every_parameter_gets_a_gradient(module, inputs):
    randomise(module).train()
    output = module(*inputs)
    (output * torch.randn(output.shape)).sum().backward()
    assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().any()] == []
