"""A server on this machine that speaks S3, for as long as its stdin is open.

It has one bucket, `bucket`, and forgets everything when it ends. Started as `python -m
tests.buckets`, it prints its address.
"""

import contextlib
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnv2_jax import cache

ROOT = Path(__file__).parent.parent

needed = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("s3fs", "moto", "flask")),
    reason="s3fs or moto is not installed: '.[dev]'",
)

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "something",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Clients look for credentials nowhere else.
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@contextlib.contextmanager
def serving() -> Iterator[dict[str, str]]:
    """Run the server; yield the environment in which clients find it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.buckets"],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield {**ENVIRONMENT, "AWS_ENDPOINT_URL": process.stdout.readline().strip()}
        process.communicate("")


def cache_without_mirrors(folder: Path) -> Path:
    """Make a cache folder like that of another machine, without mirrors of buckets.

    Everything else in it is linked to this machine's.
    """
    (folder / "mnv2_jax").mkdir(parents=True)
    for path in cache.folder().glob("*"):
        if path.name != "mirrors":
            (folder / "mnv2_jax" / path.name).symlink_to(path)
    return folder


class Folder:
    """A folder in a bucket, read and written by another client."""

    def __init__(self, uri: str) -> None:
        import boto3

        name, _, self._prefix = f"{uri}/".removeprefix("s3://").partition("/")
        self._bucket = boto3.resource("s3").Bucket(name)

    def names(self) -> set[str]:
        """The names of all files in it."""
        keys = (found.key for found in self._bucket.objects.filter(Prefix=self._prefix))
        return {key.removeprefix(self._prefix) for key in keys}

    def curves(self) -> dict[str, bytes]:
        """The curves of runs, like `tests.small.curves_of` of a local folder."""
        paths = [
            name.split("/") for name in sorted(self.names()) if name.endswith("/metrics.jsonl")
        ]
        return {run: self.read(f"{runs}/{run}/{file}") for runs, run, file in paths}

    def read(self, name: str) -> bytes:
        """The content of a file; nothing if it does not exist."""
        if name not in self.names():
            return b""
        return self._bucket.Object(self._prefix + name).get()["Body"].read()

    def write(self, name: str, data: bytes) -> None:
        """Write a file."""
        self._bucket.put_object(Key=self._prefix + name, Body=data)

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._bucket.Object(self._prefix + name).delete()


def main() -> None:
    """Serve until stdin is closed."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It would log every request.
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="bucket")
    print(address, flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
