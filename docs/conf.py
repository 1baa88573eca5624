"""Sphinx builds the site from here: `make docs`."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
# The pages are about this checkout, whatever is installed.
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent / "src")]

from atelier import __version__  # noqa: E402

project = "Atelier"
version = __version__
release = __version__
html_title = f"Atelier {__version__}"
extensions = ["myst_parser", "handbook"]
exclude_patterns = ["README.md"]  # GitHub shows it for the folder; the site begins with index.md
myst_enable_extensions = ["deflist", "html_image"]
myst_heading_anchors = 3
nitpicky = True
toc_object_entries = False  # a page of keys would have a hundred of them beside it
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "native"
