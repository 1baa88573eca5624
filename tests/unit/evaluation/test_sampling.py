"""Draws by a spread and a classifier's confidence, of a GAN and a classifier that were trained."""

import numpy as np
import pytest
import torch

from atelier.evaluation import evaluate_generator
from atelier.evaluation.extractors import classifier_extractor
from atelier.evaluation.sampling import (
    MOST_ROUNDS,
    choose_confident,
    draw_sampled,
    spread_latents,
)
from atelier.params import Sampling
from tests.support.tiny import protocol_of, rows, tiny_model, train

COUNT = 120
SEED = 3
CONFIDENCE = 0.3
SHORT = {"lr": 1e-2, "sample_every_kimg": 9.0}
CLASSIFIER = tiny_model("classifier", training={"kimg": 1.6, **SHORT})


@pytest.fixture(scope="module")
def extractor(fashion, tmp_path_factory):
    network = train(CLASSIFIER, fashion, tmp_path_factory.mktemp("classifier")).network
    return classifier_extractor(network, "classifier/1", torch.device("cpu"))


@pytest.fixture(scope="module")
def generator(fashion, tmp_path_factory):
    model = tiny_model(
        "gan",
        training={
            "kimg": 12.0,
            "log_every_kimg": 1.0,
            "sample_every_kimg": 90.0,
            "checkpoint_every_kimg": 90.0,
            "ema_halflife_kimg": 0.5,
        },
    )
    return train(model, fashion, tmp_path_factory.mktemp("gan")).network.eval()


@pytest.fixture(scope="module")
def draw(generator):
    @torch.inference_mode()
    def draw(num_images, seed, label=-1):
        rng = torch.Generator().manual_seed(seed)
        z_MZ = torch.stack([torch.randn(8, generator=rng) for _ in range(num_images)])
        labels_M = torch.arange(num_images) % 10
        if label >= 0:
            labels_M = torch.full_like(labels_M, label)
        return (generator(z_MZ, labels_M) * 0.5 + 0.5).numpy(), labels_M.numpy()

    return draw


def certainty(extractor, x_MCHW, labels_M):
    return extractor.classify(x_MCHW)[np.arange(len(labels_M)), labels_M]


@pytest.fixture(scope="module")
def chosen(draw, extractor):
    return choose_confident(draw, extractor.classify, COUNT, SEED, CONFIDENCE)


def test_doubtful_images_give_way_and_the_others_stay_in_their_places(draw, extractor, chosen):
    raw_MCHW, labels_M = draw(COUNT, SEED)
    before_M = certainty(extractor, raw_MCHW, labels_M)
    after_M = certainty(extractor, chosen.x_MCHW, chosen.labels_M)
    was_sure_M = before_M >= CONFIDENCE
    assert 0 < was_sure_M.sum() < COUNT
    np.testing.assert_array_equal(chosen.x_MCHW[was_sure_M], raw_MCHW[was_sure_M])
    assert (after_M >= CONFIDENCE).sum() > was_sure_M.sum()
    for label in range(10):
        assert after_M[labels_M == label].mean() >= before_M[labels_M == label].mean() - 1e-6
    hits = [
        (extractor.classify(x).argmax(axis=1) == labels_M).mean() for x in (raw_MCHW, chosen.x_MCHW)
    ]
    assert hits[1] > hits[0]


def test_every_class_has_as_many_images_as_before(chosen):
    assert np.bincount(chosen.labels_M).tolist() == [COUNT // 10] * 10


def test_a_seed_gives_the_same_choice_and_another_one_another(draw, extractor, chosen):
    again = choose_confident(draw, extractor.classify, COUNT, SEED, CONFIDENCE)
    np.testing.assert_array_equal(again.x_MCHW, chosen.x_MCHW)
    assert again.text == chosen.text
    other = choose_confident(draw, extractor.classify, COUNT, SEED + 1, CONFIDENCE)
    assert np.abs(other.x_MCHW - chosen.x_MCHW).max() > 0.1


def test_what_a_gan_can_not_reach_ends_with_the_best_there_were(draw, extractor):
    asked = []

    def watch(num_images, seed, label):
        asked.append(num_images)
        return draw(num_images, seed, label)

    chosen = choose_confident(watch, extractor.classify, COUNT, SEED, 0.9999)
    assert (chosen.num_accepted, chosen.num_doubtful) == (0, COUNT)
    assert sum(asked) == chosen.num_drawn == MOST_ROUNDS * COUNT
    assert (
        chosen.text
        == f"0.0% of {MOST_ROUNDS * COUNT} drawn reached it, {COUNT} of {COUNT} kept below it"
    )
    raw = certainty(extractor, *draw(COUNT, SEED))
    assert certainty(extractor, chosen.x_MCHW, chosen.labels_M).mean() > raw.mean()


def test_one_class_is_chosen_from_its_own_images(draw, extractor):
    chosen = choose_confident(draw, extractor.classify, 20, SEED, CONFIDENCE, label=4)
    assert set(chosen.labels_M) == {4}


def test_images_that_a_classifier_can_not_read_are_never_accepted(draw):
    def broken(x_MCHW):
        return np.full((len(x_MCHW), 10), np.nan, np.float32)

    chosen = choose_confident(draw, broken, 20, SEED, CONFIDENCE)
    assert (chosen.num_accepted, chosen.num_doubtful) == (0, 20)


def test_latents_are_spread_for_a_while_and_then_as_before(generator):
    z_MZ = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    labels_M = torch.arange(4)
    with torch.inference_mode():
        by_hand = generator(1.5 * z_MZ, labels_M)
        before = generator(z_MZ, labels_M)
        with pytest.raises(KeyboardInterrupt), spread_latents(generator, 1.5):
            np.testing.assert_array_equal(generator(z_MZ, labels_M), by_hand)
            raise KeyboardInterrupt
        np.testing.assert_array_equal(generator(z_MZ, labels_M), before)
    assert (by_hand - before).abs().max() > 1e-3


def test_what_is_drawn_so_is_a_subject_of_its_own(draw, generator, extractor, fashion):
    protocol = protocol_of()
    sampling = Sampling(spread=1.5, confidence=CONFIDENCE)

    def sampled(num_images, seed):
        return draw_sampled(draw, generator, sampling, extractor, num_images, seed)

    plain = evaluate_generator(draw, CLASSIFIER, extractor, fashion, protocol)
    both = evaluate_generator(draw, CLASSIFIER, extractor, fashion, protocol, sampled=sampled)
    assert both.scores == plain.scores  # those of the model, which the gate judges
    assert both.units.equals(plain.units)
    own = rows(both, subject="model").reset_index(drop=True)
    assert own.equals(rows(plain, subject="model").reset_index(drop=True))
    table = rows(both, subject="sampled").set_index("metric")
    assert set(table.index) == {*plain.scores, "kid_classifier_difference"}
    assert table.value["class_accuracy"] > plain.scores["class_accuracy"].value
    difference = table.value["kid_classifier"] - plain.scores["kid_classifier"].value
    assert table.value["kid_classifier_difference"] == pytest.approx(difference)
    for metric in plain.scores:
        text = table.protocol[metric]
        assert "latents * 1.5, drawn again below a probability of 0.3" in text
        assert "by classifier/1, which favours scores on its own features" in text
        assert "drawn reached it" in text
    assert {*both.pictures} - {*plain.pictures} == {"sampled.png", "memorisation-sampled.png"}


def test_a_spread_alone_asks_no_classifier(draw, generator, extractor):
    drawn = draw_sampled(draw, generator, Sampling(spread=1.5), extractor, 20, SEED)
    assert drawn.note == "latents * 1.5"
    with spread_latents(generator, 1.5):
        np.testing.assert_array_equal(drawn.x_MCHW, draw(20, SEED)[0])
