"""A prefix of a bucket as a source of imports, and as a location for objects that could not be imported.

Names that the library cannot address, which have an empty segment or control characters, fail as what begins with them.
The library lists a thousand names at once, and none of them if one is such a name; the others are listed folder by
folder then.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar
from urllib.parse import quote

from server.adapters.blobs.objects.client import InvalidName, Listed, NotFound, ObjectClient
from server.model.buffer import Buffer
from server.ports.imports import Gone, SourceFault, SourceFile

_PIECE_BYTES = 1 << 20
_PART_BYTES = 8 << 20
_THREADS = 32
_CHANGED = "The object was replaced while it was read."
_INVALID = (
    "The name of the object has an empty segment or a control character. It is not imported, nor are others that begin "
    "like it, and maybe some that are listed before it in the same folder: rename them and import again."
)

_T = TypeVar("_T")
_Entry = SourceFile | tuple[str, SourceFault]


class BucketSource:
    """`server.ports.imports.Source` of a prefix of a bucket."""

    def __init__(self, url: str) -> None:
        self._client = ObjectClient(url)
        self._threads = ThreadPoolExecutor(_THREADS, "import")
        self._walk: Iterator[_Entry] = iter(())
        self._walked: str | None = None  # the last name that `_walk` has yielded

    async def page(self, after: str, limit: int) -> Sequence[_Entry]:
        """See the port."""
        return await self._run(lambda: self._page(after, limit))

    def _page(self, after: str, limit: int) -> Sequence[_Entry]:
        if self._walked != after:  # otherwise the listing goes on: some stores have to begin each one at the first name
            self._walk = self._entries("", after)
        self._walked = None
        found = list(islice(self._walk, limit))
        if found:
            last = found[-1]
            self._walked = last.name if isinstance(last, SourceFile) else last[0]
        return found

    def _entries(self, prefix: str, after: str) -> Iterator[_Entry]:
        """Yield the objects below a prefix with names after `after`, in order."""
        position, following = after, _following(after)
        while True:
            if following is not None:
                position = following
                yield from self._named(following)
            try:
                for listed in self._client.names(prefix, after=position or None):
                    position = listed.name
                    if not _is_hidden(listed.name):
                        yield _file(listed)
                return
            except InvalidName as error:
                name, following = error.name, _following(error.name)
                if following is None or following <= position:  # the store cannot begin a listing after a name
                    raise
            yield from self._between(position, name)
            if not _is_hidden(name):
                yield name, SourceFault(_INVALID)

    def _between(self, position: str, invalid: str) -> Iterator[_Entry]:
        """Yield the objects between two names, of which the second is invalid, without those in its own folder."""
        folder = ""
        for segment in _valid_segments(invalid):
            try:
                objects, folders = self._client.folder(folder)
            except InvalidName:
                return
            entries = [(f"{name.rstrip('/')}/", None) for name in folders] + [(one.name, one) for one in objects]
            folder += f"{segment}/"
            for name, listed in sorted(entries, key=lambda entry: entry[0]):
                if name >= folder:
                    break
                if listed is None:
                    if name > position or position.startswith(name):
                        yield from self._entries(name, position if position.startswith(name) else "")
                elif name > position and not _is_hidden(name):
                    yield _file(listed)

    def _named(self, name: str) -> Iterator[_Entry]:
        """Yield the object of this name, if there is one."""
        if not _is_hidden(name):
            try:
                yield _file(self._client.head(name))
            except NotFound:
                return

    async def count(self, seconds: float) -> int:
        """See the port."""
        return await self._run(lambda: self._count(time.monotonic() + seconds))

    def _count(self, end: float) -> int:
        count = 0
        for entry in self._entries("", ""):
            count += isinstance(entry, SourceFile)
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
        name = "/".join(map(_valid, name.split("/")))
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


def _following(name: str) -> str | None:
    """Return a name that follows all those that are invalid for the reason for which a name is; None if it is valid."""
    start = 0
    for segment in name.split("/"):
        end = start + len(segment)
        for at, character in enumerate(segment, start):
            if character < " " or character == "\x7f":
                return name[:at] + (" " if character < " " else "\x80")
        if segment in ("", ".", "..") and start < len(name):
            return name[:end] + ("0" if end < len(name) else " ")  # `0` follows `/`
        start = end + 1
    return None


def _valid_segments(name: str) -> Iterator[str]:
    """Yield the folders of an invalid name before its first invalid segment."""
    for segment in name.split("/")[:-1]:
        if segment != _valid(segment):
            return
        yield segment


def _valid(segment: str) -> str:
    """Return a segment that can be used in a name."""
    if segment in ("", ".", ".."):
        return segment.replace(".", "%2E") or "%2F"
    return "".join(quote(one) if one < " " or one == "\x7f" else one for one in segment)


def _is_hidden(name: str) -> bool:
    return name.endswith("/") or name.startswith(".") or "/." in name


def _file(listed: Listed) -> SourceFile:
    return SourceFile(listed.name, listed.size_bytes, _tag(listed.etag, listed.size_bytes), None)


def _tag(etag: str, size_bytes: int) -> str:
    return f"{size_bytes}-{etag}"
