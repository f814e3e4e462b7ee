"""The requests that the spool makes of object storage (Amazon S3 and what speaks its protocol), and what a failure means.

A request moves ``PART_BYTES`` at most, so that a short time-out fits all of them. Credentials come from the environment of the
process: access key, shared credentials file, web identity, container or instance role; never from our configuration.

The library runs threads of its own from the first request on; they do not survive a fork, and a request of the child would
wait for ever. So nothing is requested before a process has forked, and a child that was too late is told.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from egfr_dls.spool.contract import Bytes

if TYPE_CHECKING:  # these exist for type checkers only
    from obstore.store import ClientConfig, RetryConfig, S3Config

PART_BYTES: Final = 5 * 1024 * 1024  # the least that S3 takes as part of an object (10,000 parts at most)
CONNECT_SECONDS: Final = 3
REQUEST_SECONDS: Final = 10

_RETRIES: RetryConfig = {  # of a request; a PUT of the same bytes to the same key may come twice
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=5),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2},
}
_asking: list[int] = []  # the process that has made requests
_STATUS = re.compile(r"status code: (\d{3})")
_INSTANCE_ROLE = "169.254."  # where EC2 and ECS give credentials: asked when nothing else gives any
_REDIRECT = "redirect without LOCATION"  # how the library tells HTTP 301
_ADVICE: dict[int, str] = {
    301: "is in another region; needed: its region in AWS_REGION",
    401: "refuses our credentials; needed: valid ones in the environment",
    403: "refuses our credentials; needed: the right to list, get, put and delete objects in it",
    404: "does not exist; needed: the name of a bucket that does",
}


class BucketError(Exception):
    """A request came to nothing, or nobody knows; it may go better later."""


class BucketRefusedError(BucketError):
    """The bucket is not there, or not for us."""


class Bucket:
    """One bucket, and the keys in it that start with a prefix. Nothing is requested before the first call.

    Parameters
    ----------
    endpoint
        URL of the server; empty for Amazon's own
    prefix
        which part of the bucket is ours

    Raises
    ------
    BucketRefusedError
        the environment gives half a credential
    """

    def __init__(self, name: str, endpoint: str = "", prefix: str = "") -> None:
        endpoint = endpoint.rstrip("/")
        self.title = f"bucket {name} at {endpoint or 'Amazon S3'}"
        config: S3Config = _credentials()
        if endpoint:
            config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
        client: ClientConfig = {
            "allow_http": endpoint.startswith("http:"),
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "timeout": timedelta(seconds=REQUEST_SECONDS),
        }
        try:
            self._s3 = S3Store(name, prefix=prefix or None, config=config, client_options=client, retry_config=_RETRIES)
        except BaseError as error:
            told = str(error).partition("\n")[0]
            raise BucketRefusedError(f"{self.title}: {told}; needed: what the environment says of it, whole") from error

    def put(self, key: str, data: Bytes) -> None:
        """Store an object whole; durable on return."""
        with _asked(self.title):
            obstore.put(self._s3, key, data, chunk_size=PART_BYTES, max_concurrency=1)

    def put_parts(self, key: str, parts: Iterator[Bytes]) -> None:
        """Store an object that comes in parts; durable on return. Nothing is stored where ``parts`` raises."""
        with _asked(self.title):
            obstore.put(self._s3, key, parts, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=1)

    def get(self, key: str, start: int, end: int) -> memoryview | None:
        """Return the bytes of an object from ``start`` to before ``end``, ``PART_BYTES`` at most; None if it is not there."""
        with _asked(self.title):
            try:
                return memoryview(obstore.get_range(self._s3, key, start=start, end=min(end, start + PART_BYTES)))
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def objects(self, folder: str, after: str = "") -> Iterator[tuple[str, int]]:
        """Yield key and size in bytes of all objects under a folder, in the order of their keys, past the key ``after``."""
        with _asked(self.title):
            for page in obstore.list(self._s3, folder or None, offset=after or None):
                yield from ((found["path"], found["size"]) for found in page)

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders in a folder."""
        with _asked(self.title):
            paths = obstore.list_with_delimiter(self._s3, folder or None)["common_prefixes"]
        return [path.rpartition("/")[2] for path in paths]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; one that is not there is no error."""
        with _asked(self.title):
            obstore.delete(self._s3, keys)


@contextmanager
def _asked(title: str) -> Iterator[None]:
    """Make a request; its failures become ours.

    Raises
    ------
    RuntimeError
        this process was forked from one that had made requests
    """
    pid = os.getpid()
    if not _asking:
        _asking.append(pid)
    if _asking[0] != pid:
        raise RuntimeError("object storage was used before this process was forked; fork first")
    try:
        yield
    except (BaseError, OSError) as error:
        raise _failure(title, str(error)) from error


def _failure(title: str, told: str) -> BucketError:
    """Return what a failed request means; ``told`` is the library's account of it."""
    if _INSTANCE_ROLE in told:
        return BucketRefusedError(f"{title}: no credentials; needed: AWS_ACCESS_KEY_ID and the like in the environment")
    status = 301 if _REDIRECT in told else int(found[1]) if (found := _STATUS.search(told)) else 0
    if status in _ADVICE:
        return BucketRefusedError(f"{title} {_ADVICE[status]}")
    what = f"answers HTTP {status}" if status else "does not answer"
    return BucketError(f"{title} {what}; needed: the network to it, and a server that works")


def _credentials() -> S3Config:
    """Return the keys of the profile in the shared credentials file; nothing where the environment gives them itself."""
    if "AWS_ACCESS_KEY_ID" in os.environ or "AWS_WEB_IDENTITY_TOKEN_FILE" in os.environ:
        return {}
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()
    profiles = configparser.ConfigParser(interpolation=None)
    profiles.read(path, encoding="utf-8")
    name = os.environ.get("AWS_PROFILE", "default")
    if not profiles.has_section(name):
        return {}
    found = profiles[name]
    keys: S3Config = {}
    if "aws_access_key_id" in found:
        keys = {
            "access_key_id": found["aws_access_key_id"],
            "secret_access_key": found.get("aws_secret_access_key", ""),
        }
    if "aws_session_token" in found:
        keys["session_token"] = found["aws_session_token"]
    return keys
