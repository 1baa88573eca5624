"""The routes, with real champions of a real registry behind them."""

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from atelier.pictures import grid
from atelier.service.sightings import read_lines
from tests.unit.service.conftest import MODELS

pytestmark = pytest.mark.service


def restore(client, model, content, **query):
    return client.post(f"/restore/{model}", files={"file": content}, params=query)


def pixels_of(answer):
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def predicted(champions, model, pixels):
    x_NCHW = np.atleast_3d(pixels).transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    return champions.load(champions.resolve(model)).predict(x_NCHW)[0]


# -- pictures in, pictures out -----------------------------------------------------------------


@pytest.mark.parametrize(("model", "mode"), [("grey", "L"), ("colour", "RGB"), ("enlarge", "RGB")])
def test_a_restored_picture_is_what_the_pyfunc_restores(client, champions, encode, model, mode):
    content = encode(mode)
    answer = restore(client, model, content)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    wanted_CHW = predicted(champions, model, np.asarray(Image.open(io.BytesIO(content))))
    wanted = (wanted_CHW * 255).round().astype(np.uint8).transpose(1, 2, 0).squeeze()
    assert np.array_equal(pixels_of(answer), wanted)


def test_who_answered_stands_in_the_headers(client, champions, encode):
    version = champions.resolve("grey")
    answer = restore(client, "grey", encode())
    assert answer.headers["x-model"] == "grey"
    assert answer.headers["x-model-version"] == str(version.number)
    assert answer.headers["x-model-run"] == version.run_id


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_formats_come_out_as_they_came_in_or_as_asked(client, encode, file_format):
    content = encode("RGB", file_format=file_format)
    as_it_was = restore(client, "colour", content)
    assert Image.open(io.BytesIO(as_it_was.content)).format == file_format
    as_asked = restore(client, "colour", encode("RGB"), format=file_format.lower())
    assert Image.open(io.BytesIO(as_asked.content)).format == file_format
    assert as_asked.headers["content-type"] == f"image/{file_format.lower()}"


def test_what_was_done_to_a_picture_is_said(client, encode):
    answer = restore(client, "grey", encode("RGBA"))
    assert "of colour went through the grey model" in answer.headers["x-notes"]
    assert pixels_of(answer).shape == (30, 40, 4)


def test_settings_reach_the_model(client, encode):
    weak = restore(client, "colour", encode("RGB"), sigma=0.01)
    strong = restore(client, "colour", encode("RGB"), sigma=0.9)
    assert weak.status_code == strong.status_code == 200
    assert weak.content != strong.content


def test_an_animation_comes_back_whole(client, encode):
    frames = [
        Image.open(io.BytesIO(encode("RGB", (20 + i, 20)))).resize((20, 20)) for i in range(3)
    ]
    content = io.BytesIO()
    frames[0].save(content, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    answer = restore(client, "colour", content.getvalue())
    assert Image.open(io.BytesIO(answer.content)).n_frames == 3


# -- generated ---------------------------------------------------------------------------------


def test_generated_images_are_those_of_the_pyfunc(client, champions):
    import pandas as pd

    answer = client.post("/generate/clothes", json={"class": "shoe", "seed": 3, "number": 4})
    assert answer.status_code == 200
    table = pd.DataFrame([{"num_images": 4, "seed": 3, "class": 1}])
    wanted = grid(champions.load(champions.resolve("clothes")).predict(table), 2)
    assert np.array_equal(pixels_of(answer), wanted.squeeze())


def test_a_class_is_asked_for_by_name_or_number(client):
    answers = [
        client.post("/generate/clothes", json={"class": wanted, "number": 1, "single": True})
        for wanted in ("shoe", "SHOE", 1, "1")
    ]
    assert len({answer.content for answer in answers}) == 1
    assert pixels_of(answers[0]).shape == (16, 16)


def test_an_old_gan_does_not_silently_leave_truncation_out(client):
    wish = {"number": 4, "seed": 3}
    plain = client.post("/generate/clothes", json=wish)
    truncated = client.post("/generate/clothes", json={**wish, "truncation": 0.1})
    assert plain.content != truncated.content
    fleet = client.service.fleet
    columns = ("num_images", "seed", "class")
    fleet._served["clothes"] = replace(fleet.get("clothes"), columns=columns)
    answer = client.post("/generate/clothes", json={**wish, "truncation": 0.1})
    assert answer.status_code == 422
    assert "truncation has no meaning for clothes/1" in answer.text


# -- what is served ----------------------------------------------------------------------------


def test_models_health_metrics_and_the_description(client, encode):
    described = {model["name"]: model for model in client.get("/models").json()}
    assert described.keys() == MODELS.keys()
    assert described["enlarge"]["upscale"] == 2
    assert described["colour"]["settings"] == ["sigma"]
    assert described["clothes"]["class_names"] == ["shirt", "shoe", "bag"]
    health = client.get("/health")
    assert health.status_code == 200
    assert health.json()["models"] == dict.fromkeys(MODELS, 1)
    restore(client, "grey", encode())
    text = client.get("/metrics").text
    assert 'atelier_requests_total{model="grey",status="answered"} 1.0' in text
    assert 'atelier_pixels_total{model="grey"} 1200.0' in text
    assert 'atelier_model_version{model="grey"} 1.0' in text
    assert "/restore/{model}" in json.dumps(client.get("/openapi.json").json())


@pytest.mark.parametrize("reference", ["grey/1", "grey@champion"])
def test_a_version_is_served_by_the_name_it_was_given(serve, encode, reference):
    client = serve(reference)
    assert restore(client, reference, encode()).status_code == 200
    assert restore(client, "grey", encode()).status_code == 404


# -- mistakes ----------------------------------------------------------------------------------


def test_mistakes_are_answered_with_a_reason(client, encode):
    png = encode()
    cases = [
        (
            restore(client, "gray", png),
            404,
            "'gray' is not served here; served are clothes, colour",
        ),
        (restore(client, "clothes", png), 409, "clothes generates: POST /generate/clothes."),
        (client.post("/generate/grey", json={}), 409, "grey restores: POST /restore/grey."),
        (restore(client, "grey", b""), 422, "the picture can't be used: empty."),
        (restore(client, "grey", b"no picture at all"), 422, "not a picture"),
        (restore(client, "grey", png[:-200]), 422, "truncated or damaged"),
        (
            restore(client, "grey", png, sigma=0.1),
            422,
            "sigma has no meaning for grey/1, whose settings are: none.",
        ),
        (restore(client, "grey", png, format="bmp"), 422, "'png', 'jpeg', 'webp' or 'tiff'"),
        (client.post("/restore/grey", data={"a": "b"}), 422, "file"),
        (client.post("/generate/clothes", json={"class": "hat"}), 422, "0 shirt, 1 shoe, 2 bag"),
        (client.post("/generate/clothes", json={"number": 9999}), 422, "1024"),
        (client.post("/generate/clothes", json={"colour": "red"}), 422, "colour"),
        (client.post("/generate/clothes", json={"truncation": -1}), 422, "greater than 0"),
    ]
    for answer, status, reason in cases:
        assert answer.status_code == status, answer.text
        assert reason in answer.text
    assert restore(client, "grey", png).status_code == 200  # it is still there


def test_too_many_pixels_are_refused_by_the_header(serve, encode):
    client = serve(max_pixels=1000)
    answer = restore(client, "grey", encode(size=(40, 30)))
    assert answer.status_code == 413
    assert "40 x 30, at most 1,000 pixels" in answer.text


@pytest.mark.parametrize("announced", [True, False])
def test_too_many_bytes_are_refused_announced_or_not(serve, announced):
    client = serve(max_bytes=10_000)
    body = b"x" * 20_000
    content = body if announced else iter([body[:5000]] * 4)
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post("/restore/grey", content=content, headers=kind)
    assert answer.status_code == 413
    assert "more than 10,000 bytes" in answer.text


def test_a_model_without_champion_is_503_until_there_is_one(serve, champions, encode, monkeypatch):
    client = serve("grey", "colour")
    champions.delete_alias("colour", "champion")
    try:
        client.service.fleet._follow(strict=False)
        answer = restore(client, "colour", encode("RGB"))
        assert answer.status_code == 503
        assert "colour has no champion at the moment" in answer.text
    finally:
        champions.set_alias("colour", "champion", 1)
    client.service.fleet._follow(strict=False)
    assert restore(client, "colour", encode("RGB")).status_code == 200


# -- statistics for monitoring -----------------------------------------------------------------


def test_statistics_of_a_share_of_the_requests_are_kept(serve, encode, tmp_path):
    client = serve(share=1.0)
    content = encode("RGB", (33, 21))
    restore(client, "colour", content)
    client.service.kitchen.pool.shutdown()
    (line,) = read_lines(tmp_path / "requests", "colour")
    values = np.asarray(Image.open(io.BytesIO(content))) / 255
    assert (line["height"], line["width"], line["channels"]) == (21, 33, 3)
    assert line["mean"] == pytest.approx(values.mean(), abs=1e-4)
    assert line["std"] == pytest.approx(values.std(), abs=1e-4)
    assert line["version"] == 1
    assert line["format"] == "PNG"
    assert line["sigma"] > 0.1  # white noise
    assert line["change"] > 0
    assert re.match(r"20\d\d-\d\d-\d\dT", line["time"])


def test_nothing_is_kept_where_that_is_switched_off(serve, encode, tmp_path):
    client = serve(share=0.0)
    restore(client, "grey", encode())
    assert not (tmp_path / "requests").exists()
