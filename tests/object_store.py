"""Object stores for tests: buckets of an S3 server."""

import itertools
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.e2e.archive import free_port

_START_SECONDS = 60

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A server. Its buckets are separate for each test."""

    endpoint: str

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of a client."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "testtest",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def bucket(self) -> str:
        """Create a bucket and return its URL."""
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=30).close()
        return f"s3://{name}/archive"


@contextmanager
def running_moto() -> Iterator[ObjectStore]:
    """Run moto's server, which keeps objects in memory."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(endpoint, server)
        yield ObjectStore(endpoint)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_for(endpoint: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(_START_SECONDS * 10):
        try:
            urllib.request.urlopen(endpoint, timeout=10).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            try:
                server.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            raise RuntimeError(f"the server ended with {server.returncode}") from None
    raise RuntimeError("the server does not answer")
