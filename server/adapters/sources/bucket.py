"""A prefix of a bucket as a source of imports, and as a location for objects that could not be imported."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from server.adapters.blobs.objects.client import Listed, NotFound, ObjectClient
from server.model.buffer import Buffer
from server.ports.imports import Gone, SourceFault, SourceFile

_PIECE_BYTES = 1 << 20
_PART_BYTES = 8 << 20
_THREADS = 32
_CHANGED = "The object was replaced while it was read."

_T = TypeVar("_T")


class BucketSource:
    """`server.ports.imports.Source` of a prefix of a bucket."""

    def __init__(self, url: str) -> None:
        self._client = ObjectClient(url)
        self._threads = ThreadPoolExecutor(_THREADS, "import")

    async def page(self, after: str, limit: int) -> Sequence[SourceFile | tuple[str, SourceFault]]:
        """See the port."""
        return await self._run(lambda: self._page(after, limit))

    def _page(self, after: str, limit: int) -> Sequence[SourceFile]:
        while True:
            listed = list(self._client.names(after=after or None, limit=limit))
            found = [_file(one) for one in listed if not _is_hidden(one.name)]
            if found or len(listed) < limit:
                return found
            after = listed[-1].name

    async def count(self, seconds: float) -> int:
        """See the port."""
        return await self._run(lambda: self._count(time.monotonic() + seconds))

    def _count(self, end: float) -> int:
        count = 0
        for listed in self._client.names():
            count += not _is_hidden(listed.name)
            if not count % 1000 and time.monotonic() > end:
                return 0
        return count

    async def contents(self, files: Sequence[SourceFile]) -> Sequence[Buffer | SourceFault | Gone]:
        """See the port."""
        return await asyncio.gather(*(self._run(lambda file=file: self._content(file)) for file in files))  # type: ignore[misc]

    def _content(self, file: SourceFile) -> Buffer | SourceFault | Gone:
        try:
            content, etag = self._client.get(file.name)
        except NotFound:
            return Gone()
        return content if _tag(etag, len(content)) == file.etag else SourceFault(_CHANGED)

    async def read(self, file: SourceFile) -> AsyncGenerator[Buffer]:
        """See the port."""
        for offset in range(0, file.size_bytes, _PIECE_BYTES):
            size = min(_PIECE_BYTES, file.size_bytes - offset)
            piece = await self._found(lambda: self._client.get_range(file.name, offset, size))  # noqa: B023
            if len(piece) != size:
                raise SourceFault(_CHANGED)
            yield piece
        if _file(await self._found(lambda: self._client.head(file.name))).etag != file.etag:
            raise SourceFault(_CHANGED)

    async def delete(self, files: Sequence[SourceFile]) -> Collection[SourceFile]:
        """See the port. An object that is replaced in the moment before it is deleted is lost, as stores cannot delete
        conditionally."""
        remaining = [one for one in await asyncio.gather(*map(self._replaced, files)) if one is not None]
        await self._run(lambda: self._client.delete([file.name for file in files if file not in remaining]))
        return remaining

    async def _replaced(self, file: SourceFile) -> SourceFile | None:
        try:
            found = await self._found(lambda: self._client.head(file.name))
        except Gone:
            return None
        return file if _file(found).etag != file.etag else None

    async def _found(self, work: Callable[[], _T]) -> _T:
        try:
            return await self._run(work)
        except NotFound:
            raise Gone from None

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class BucketErrors:
    """`server.ports.imports.ErrorLocation` in a prefix of a bucket."""

    def __init__(self, url: str) -> None:
        self._client = ObjectClient(url)

    async def add(self, name: str, record: bytes, content: AsyncIterator[Buffer] | None) -> None:
        """See the port."""
        if content is not None:
            await self._copy(name, content)
        await asyncio.to_thread(self._client.put, f"{name}.error.json", record)

    async def _copy(self, name: str, content: AsyncIterator[Buffer]) -> None:
        gathered: list[Buffer] = []
        upload = None
        try:
            async for piece in content:
                gathered.append(piece)
                if sum(map(len, gathered)) >= _PART_BYTES:
                    if upload is None:
                        upload = await asyncio.to_thread(self._client.multipart, name)
                    part, gathered = b"".join(gathered), []
                    await asyncio.to_thread(upload.part, part)
            rest = b"".join(gathered)
            if upload is None:
                await asyncio.to_thread(self._client.put, name, rest)
                return
            if rest:
                await asyncio.to_thread(upload.part, rest)
            await asyncio.to_thread(upload.complete)
        except BaseException:
            if upload is not None:
                await asyncio.to_thread(upload.abort)
            raise


def _is_hidden(name: str) -> bool:
    return name.endswith("/") or name.startswith(".") or "/." in name


def _file(listed: Listed) -> SourceFile:
    return SourceFile(listed.name, listed.size_bytes, _tag(listed.etag, listed.size_bytes), None)


def _tag(etag: str, size_bytes: int) -> str:
    return f"{size_bytes}-{etag}"
