"""A tab of a real browser, driven by Chromium's DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import subprocess
import time
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import urlopen

from websockets.sync.client import connect

WAIT_SECONDS = 30
KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "End": 35}


class Tab:
    """One page; `requests` are the addresses that it asked for, `complaints` what it logged."""

    def __init__(self, connection):
        self._connection = connection
        self._last = 0
        self.requests = []
        self.complaints = []
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """The result of a command of the protocol."""
        self._last += 1
        self._connection.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(timeout=WAIT_SECONDS))
            if message.get("id") == self._last:
                assert "error" not in message, message["error"]
                return message["result"]
            self._note(message)

    def _note(self, event):
        if event["method"] == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        elif event["method"] == "Log.entryAdded":
            self.complaints.append(event["params"]["entry"]["text"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(str(event["params"]["exceptionDetails"]))

    def open(self, address):
        """Go to a page; one that is open already goes to another place of it."""
        self.call("Page.navigate", url=address)

    def get(self, script):
        """The value of JavaScript; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script):
        """The value of JavaScript as soon as it is true."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            value = self.get(script)
            if value:
                return value
            time.sleep(0.05)
        page = self.get("document.body.innerText")
        raise AssertionError(f"{script} did not become true. The page says:\n{page}")

    def text(self, selector):
        """What an element says."""
        return self.get(f"document.querySelector({json.dumps(selector)}).innerText")

    def wait_for_text(self, selector, words):
        """Until an element says certain words."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait_for(f"{element}?.innerText.includes({json.dumps(words)})")

    def give_file(self, selector, path):
        """Choose a file, as its dialog does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def press(self, key):
        """A key, for whatever has the focus."""
        text = {"Enter": "\r", " ": " "}.get(key)
        code = ord(text) if text else KEYS[key]
        given = {"key": key, "windowsVirtualKeyCode": code}
        if text:
            given["text"] = text
        self.call("Input.dispatchKeyEvent", type="keyDown", **given)
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)

    def write(self, selector, text):
        """Fill a field, as a keyboard does."""
        self.get(f"document.querySelector({json.dumps(selector)}).select()")
        self.get(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def click(self, selector, share=0.5):
        """The mouse, on an element; `share` of its width from the left."""
        self.drag(selector, share, share)

    def drag(self, selector, start, end):
        """The mouse, from one share of an element's width to another."""
        box = self.get(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()"
        )
        y = box[1] + box[3] / 2
        steps = [("mousePressed", start), ("mouseReleased", end)]
        if start != end:
            shares = [start + (end - start) * i / 4 for i in range(1, 5)]
            steps[1:1] = [("mouseMoved", share) for share in shares]
        for kind, share in steps:
            pressed = {"button": "left", "buttons": 1, "clickCount": 1}
            x = box[0] + share * box[2]
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    def resize(self, width, height):
        """The window, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, **features):
        """Media features, as `prefers_color_scheme="dark"`."""
        wanted = [
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()
        ]
        self.call("Emulation.setEmulatedMedia", features=wanted)

    def screenshot(self, target):
        """A picture of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        target.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def open_tab(browser, folder, address):
    """A tab that reaches one address and its proxy alone.

    Args:
        browser: of `open_browser`.
        folder: of its profile.
        address: http://HOST:PORT.
    """
    command = [
        *browser.command,
        f"--user-data-dir={folder}",
        f"--proxy-bypass-list=<-loopback>;{urlsplit(address).netloc}",
        "--remote-debugging-port=0",
        "about:blank",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _wait_for_port(folder / "DevToolsActivePort", process)
        with urlopen(f"http://127.0.0.1:{port}/json") as answer:
            pages = [target for target in json.load(answer) if target["type"] == "page"]
        with connect(pages[0]["webSocketDebuggerUrl"], max_size=None, proxy=None) as connection:
            yield Tab(connection)
    finally:
        process.terminate()
        process.wait(timeout=WAIT_SECONDS)


def _wait_for_port(path, process):
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        if path.exists() and len(path.read_text().splitlines()) == 2:
            return path.read_text().splitlines()[0]
        assert process.poll() is None, "the browser ended"
        time.sleep(0.1)
    raise AssertionError("the browser can't be driven")
