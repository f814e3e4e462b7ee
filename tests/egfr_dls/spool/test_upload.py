"""An object that arrives in parts counts as stored only when the storage has said so; without a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("obstore", reason="obstore (the extra s3) is not installed")

from egfr_dls.spool.bucket import BucketError
from egfr_dls.spool.contract import Bytes
from egfr_dls.spool.upload import _Upload


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_completion_that_fails_in_a_way_nobody_foresaw_is_no_success() -> None:
    """Answered 0000H it would be an acknowledged instance without an object."""

    def store(parts: Iterator[Bytes]) -> None:
        assert b"".join(parts) == b"firstlast"
        raise ValueError("what CompleteMultipartUpload answered cannot be read")

    upload = _Upload(store)
    upload.send(b"first")
    with pytest.raises(BucketError, match="before the object was stored"):
        upload.finish(b"last")


def test_what_is_stored_is_a_success() -> None:
    stored: list[bytes] = []
    upload = _Upload(lambda parts: stored.extend(bytes(part) for part in parts))
    upload.send(b"first")
    upload.finish(b"last")
    assert stored == [b"first", b"last"]
