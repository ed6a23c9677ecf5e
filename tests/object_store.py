"""Object stores for tests: buckets of S3 servers, and containers of an Azure server."""

import base64
import hmac
import itertools
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.e2e.archive import ROOT
from tests.ports import free_port

_START_SECONDS = 60

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """An S3 server."""

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
        """Create a bucket or container and return its URL."""
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=30).close()
        return f"s3://{name}/archive"


@contextmanager
def running_moto() -> Iterator[ObjectStore]:
    """Run moto's server, which keeps objects in memory."""
    port = free_port()
    with _running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port) as endpoint:
        yield ObjectStore(endpoint)


def versitygw() -> str | None:
    """Return the path of versitygw, which `make clients` installs, if there is one."""
    return shutil.which("versitygw", path=f"{ROOT / '.clients/bin'}{os.pathsep}{os.environ.get('PATH', '')}")


@contextmanager
def running_versitygw() -> Iterator[ObjectStore]:
    """Run versitygw, an S3 gateway with its objects in files. Like S3, it keeps connections open between requests."""
    program = versitygw()
    assert program is not None, "make clients"
    port = free_port()
    with TemporaryDirectory(prefix="dicomstore-versitygw-") as directory:
        command = [program, "--keep-alive", "--port", f"127.0.0.1:{port}", "posix", directory]
        with _running(command, port, ROOT_ACCESS_KEY="test", ROOT_SECRET_KEY="testtest") as endpoint:
            yield _Folders(endpoint, Path(directory))


@dataclass(frozen=True, slots=True)
class _Folders(ObjectStore):
    directory: Path

    def bucket(self) -> str:
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        (self.directory / name).mkdir()
        return f"s3://{name}/archive"


AZURITE = ROOT / ".clients/node_modules/azurite/dist/src/blob/main.js"
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The documented key of Azurite's account."""


@contextmanager
def running_azurite() -> Iterator[ObjectStore]:
    """Run Azurite, an Azure Blob Storage server."""
    port = free_port()
    with TemporaryDirectory(prefix="dicomstore-azurite-") as directory:
        command = ["node", str(AZURITE), "--location", directory, "--blobHost", "127.0.0.1", "--blobPort", str(port)]
        with _running([*command, "--silent", "--skipApiVersionCheck"], port) as endpoint:
            yield _Azurite(endpoint)


class _Azurite(ObjectStore):
    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1",
            "AZURE_STORAGE_ACCOUNT_KEY": _AZURITE_KEY,
            "AZURE_STORAGE_ENDPOINT": f"{self.endpoint}/devstoreaccount1",
            "AZURE_ALLOW_HTTP": "true",
        }

    def bucket(self) -> str:
        name = f"container-{os.getpid()}-{next(_numbers)}"
        date = formatdate(usegmt=True)
        headers = {"x-ms-date": date, "x-ms-version": "2021-08-06"}
        canonical = "".join(f"{key}:{value}\n" for key, value in sorted(headers.items()))
        resource = f"/devstoreaccount1/devstoreaccount1/{name}\nrestype:container"
        text = "PUT\n" + "\n" * 11 + canonical + resource
        digest = hmac.digest(base64.b64decode(_AZURITE_KEY), text.encode(), "sha256")
        signature = base64.b64encode(digest).decode()
        url = f"{self.endpoint}/devstoreaccount1/{name}?restype=container"
        headers |= {"Authorization": f"SharedKey devstoreaccount1:{signature}"}
        urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers), timeout=30).close()
        return f"az://{name}/archive"


@contextmanager
def _running(command: list[str], port: int, **environment: str) -> Iterator[str]:
    endpoint = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **environment},
    )
    try:
        _wait_for(endpoint, server)
        yield endpoint
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
