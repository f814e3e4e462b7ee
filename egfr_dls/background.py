"""Work that goes on in a thread beside a block of code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(name: str, work: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Do ``work`` in a thread of this name until the block ends, in whatever way; then wait until it has returned.

    Parameters
    ----------
    end
        called at the end of the block; makes ``work`` return
    """
    thread = threading.Thread(target=work, name=name)
    thread.start()
    try:
        yield
    finally:
        end()
        thread.join()
