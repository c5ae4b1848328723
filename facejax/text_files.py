"""Text files of any origin: UTF-8, UTF-16 and UTF-32, with or without a byte order mark, or Windows' Western encoding.

Line ends of Windows (CR LF) and of old Macs (CR) become plain line feeds.
"""

import json
from pathlib import Path
from typing import Any


def decode_text(content: bytes, name: str | Path) -> str:
    """The text in the bytes of a file, without byte order mark, with plain line feeds.

    Bytes that are not Unicode are read as Windows-1252 (Latin-1 where that has no character). Raises ValueError,
    beginning with `name`, for what is not text.
    """
    encoding = json.detect_encoding(content)  # by the byte order mark, or else by where the first zero bytes are
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding not in ("utf-8", "utf-8-sig"):
            raise ValueError(f"{name}: not text ({encoding.upper()} that is cut short or damaged)") from error
        text = _western(content.removeprefix(b"\xef\xbb\xbf"))
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a")  # DOS ended files with a control character
    if "\0" in text:
        raise ValueError(f"{name}: not text (it has zero bytes)")
    return text


def read_text(path: str | Path) -> str:
    """The text of a file, see `decode_text`. Raises OSError or ValueError."""
    return decode_text(Path(path).read_bytes(), path)


def read_json(path: str | Path) -> Any:
    """The content of a JSON file in any encoding of `decode_text`. Raises OSError, or ValueError naming the file."""
    return parse_json(read_text(path), path)


def parse_json(text: str, name: str | Path) -> Any:
    """Like `json.loads`, with errors of one line that begin with `name`."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name}: not JSON ({str(error).splitlines()[0]})") from error
    except RecursionError as error:
        raise ValueError(f"{name}: not JSON that can be read (nested too deeply)") from error


def text_lines(text: str) -> list[str]:
    """The lines of a text without surrounding space; a byte order mark may begin any, as in files that were joined."""
    return [line.strip().removeprefix("\ufeff").strip() for line in text.split("\n")]


def _western(content: bytes) -> str:
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return content.decode("latin-1")
