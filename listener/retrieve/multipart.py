"""A multipart/related body as it arrives (RFC 2046 5.1.1, PS3.18 8.6.1.2): pure, and never more of it in memory than a piece."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Final

from listener.retrieve.source import SourceError

HEADER_BYTES = 16384  # of one part
PIECE_BYTES = 262144
_LINE, _HEADER_END = b"\r\n", b"\r\n\r\n"
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046 5.1.1


class Multipart:
    """Cuts a body at its boundary.

    Parameters
    ----------
    read
        returns the next bytes, at most so many; none at the end
    boundary
        as the Content-Type names it
    """

    def __init__(self, read: Callable[[int], bytes], boundary: str) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise _broken()
        self._read = read
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._buffer = bytearray(_LINE)  # the first delimiter needs no line before it

    def parts(self) -> Iterator[tuple[Message, Iterator[bytes]]]:
        """Yield header and content of each part; what of its content is not taken by then is skipped.

        Raises
        ------
        SourceError
            MULTIPART_BROKEN: no such boundary, no end, or a header that is none; and what ``read`` raises
        """
        _skip(self._content())  # the preamble
        while not self._is_end():
            header = self._header()
            content = self._content()
            yield header, content
            _skip(content)

    def _is_end(self) -> bool:
        """Whether the delimiter just passed is the closing one."""
        self._fill(lambda: len(self._buffer) >= 2)
        return self._buffer.startswith(b"--")

    def _header(self) -> Message:
        """Take the rest of the delimiter's line and the header, to the empty line behind it."""
        self._fill(lambda: _HEADER_END in self._buffer, HEADER_BYTES)
        block, _, self._buffer = self._buffer.partition(_HEADER_END)
        padding, _, lines = block.partition(_LINE)
        if padding.strip(b" \t"):
            raise _broken()
        return BytesHeaderParser().parsebytes(bytes(lines))

    def _content(self) -> Iterator[bytes]:
        """Yield what comes before the next delimiter, and take that, too."""
        while (at := self._buffer.find(self._delimiter)) < 0:
            whole = len(self._buffer) - len(self._delimiter) + 1  # more could be the beginning of a delimiter
            if whole > 0:
                piece = bytes(self._buffer[:whole])
                del self._buffer[:whole]
                yield piece
            self._more()
        piece = bytes(self._buffer[:at])
        del self._buffer[: at + len(self._delimiter)]
        if piece:
            yield piece

    def _fill(self, enough: Callable[[], bool], limit: int = PIECE_BYTES) -> None:
        while not enough():
            if len(self._buffer) > limit:
                raise _broken()
            self._more()

    def _more(self) -> None:
        data = self._read(PIECE_BYTES)
        if not data:
            raise _broken()
        self._buffer += data


def _skip(content: Iterator[bytes]) -> None:
    for _ in content:
        pass


def _broken() -> SourceError:
    return SourceError("MULTIPART_BROKEN")
