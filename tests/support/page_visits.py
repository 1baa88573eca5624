"""What a visitor of the service's page does, and what the service answers to programs."""

import io
import json
import time

import httpx
import numpy as np
from PIL import Image

HAS_RESULT = "!!document.querySelector('#result:not([hidden], [aria-busy])')"
IS_DRAWN = "[...document.images].every((image) => image.complete)"
PIXELS = """(() => {
  const image = document.querySelector("#%s");
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.height, canvas.width, [...pixels.data]];
})()"""


def choose(tab, address, model):
    """Open the page at a model."""
    tab.open(f"{address}/#model={model}")
    tab.wait_for(f"document.title.startsWith({json.dumps(model)})")


def wait_for_result(tab):
    """Until a result stands there, with its images."""
    tab.wait_for(f"{HAS_RESULT} && {IS_DRAWN}")


def restore(tab, path):
    """Choose a picture, and wait for its result."""
    tab.give_file("#file", path)
    wait_for_result(tab)


def pixels_in(tab, image):
    """RGB of an image of the page."""
    height, width, values = tab.get(PIXELS % image)
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def rgb(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def ask_restore(address, model, path, **query):
    files = {"file": (path.name, path.read_bytes())}
    answer = httpx.post(f"{address}/restore/{model}", files=files, params=query)
    assert answer.status_code == 200, answer.text
    return answer.content


def ask_generate(address, **wish):
    answer = httpx.post(f"{address}/generate/clothes", json=wish)
    assert answer.status_code == 200, answer.text
    return answer.content


def download(tab, folder):
    """The file that the link gives."""
    tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    name = tab.get("document.querySelector('#download').download")
    tab.click("#download")
    end = time.monotonic() + 20
    while not (folder / name).exists() and time.monotonic() < end:
        time.sleep(0.05)
    return folder / name
