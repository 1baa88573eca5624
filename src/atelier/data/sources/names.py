r"""Names of files and classes as text.

To a file system or an archive a name is bytes; people and services need text.
Python holds bytes that aren't UTF-8 as lone surrogates.
Those can't be printed, sent or stored, and control characters break tables and lines, so both leave
the sources escaped, as in `Icon\u000d`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Control characters, line ends and marks of direction (they make a name look like another one),
# lone surrogates; and a backslash that would be taken for one of these, so that every name can be
# told from every other.
_UNSHOWN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
    r"|\\(?=u[0-9a-f]{4})"
)
# A letter of two bytes in Shift-JIS, GBK or Big5, whose second byte may be a backslash; or else any
# one byte.
_LETTER = re.compile(rb"[\x81-\xfe][\x40-\xfe]|.", re.DOTALL)


def escape(name: str) -> str:
    """A name as it is logged, stored and sent: text in one line, another one for each name."""
    return _UNSHOWN.sub(lambda letter: f"\\u{ord(letter[0]):04x}", name)


def list_some(names: Sequence[str], most: int = 3) -> str:
    """The first few of some names."""
    more = len(names) - most
    ending = f" and {more:,} more" if more > 0 else ""
    return ", ".join(names[:most]) + ending


def with_slashes(name: bytes) -> bytes:
    """A name in an archive, with slashes where Windows wrote backslashes.

    In a local code page a backslash may be the second half of a letter.
    No letter's second half is a slash, so where there are slashes, a backslash separates nothing.
    """
    if is_utf8(name):
        return name.replace(b"\\", b"/")
    if b"/" in name:
        return name
    letters = []
    for letter in _LETTER.findall(name):
        letters.append(b"/" if letter == b"\\" else letter)
    return b"".join(letters)


def is_utf8(name: bytes) -> bool:
    """Whether bytes are text in UTF-8."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
