"""A real browser without a window, and what it asks the network for."""

import shutil
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """Opens pages; `asked` are the addresses that it wanted from any host but its own maker's."""

    def __init__(self, program, folder, port, asked):
        self.command = [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            f"--proxy-server=http://127.0.0.1:{port}",
            "--proxy-bypass-list=<-loopback>",
        ]
        self.asked = asked

    def _run(self, *words):
        done = subprocess.run([*self.command, *words], capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def dom(self, page):
        """The document after everything was loaded, as HTML."""
        return self._run("--dump-dom", page.as_uri())

    def screenshot(self, page, target, size="1100,1400"):
        """A picture of the page."""
        self._run(f"--window-size={size}", f"--screenshot={target}", page.as_uri())


@contextmanager
def open_browser(folder):
    """A browser whose every request goes to a proxy that only takes note of it.

    Skips where there is none.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)} (apt-get install chromium)")
    asked = []

    class Proxy(BaseHTTPRequestHandler):
        def _note(self):
            if (
                "google" not in self.path and "gvt1" not in self.path
            ):  # what Chromium asks on its own account
                asked.append(self.path)
            self.send_error(404)

        do_GET = do_HEAD = do_POST = do_CONNECT = _note

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Browser(program, folder, server.server_port, asked)
        server.shutdown()
