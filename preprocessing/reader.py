"""Lines of a dump: decompressed, split and numbered in blocks, with memory bounded whatever the file holds.

A line ends at LF or CRLF; the last one may lack its end. A byte-order mark at the file's start is dropped. Of a line
longer than ``MAX_RAW_BYTES`` only the beginning is kept, so that a file without line ends needs no memory either.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.errors import ReaderFlowError
from readerflow.common.records import MAX_RAW_BYTES

BLOCK_BYTES = 16 << 20
_INPUT_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
#: First bytes of files that people take for dumps -> what they are.
_OTHER_FORMATS = {
    b"BZh": "a bzip2 file; decompress it first",
    b"\xfd7zXZ": "an xz file; decompress it first",
    b"\x28\xb5\x2f\xfd": "a Zstandard file; decompress it first",
    b"PK\x03\x04": "a zip file; unpack it first",
    b"PAR1": "a Parquet file; give the dump that it was made from",
    b"\x89PNG": "a PNG image",
    b"%PDF": "a PDF document",
}

T = TypeVar("T")


class BadDump(ReaderFlowError):
    """The file as a whole can't be read as a dump."""


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True)
class Block:
    """Whole lines of a dump. ``data`` holds them joined by LF; ``consumed`` bytes of the file are behind."""

    first_line: int
    data: bytes
    lines: pa.LargeBinaryArray
    consumed: int


class DumpReader:
    """Reads a dump once; after that ``checksum`` tells its decompressed content."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hash: Hash = hashlib.sha256()
        self._consumed = 0

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    @property
    def checksum(self) -> str:
        """SHA-256 of the decompressed bytes read so far, in hex."""
        return self._hash.hexdigest()

    def blocks(self) -> Iterator[Block]:
        """Yield all lines; the next block is made in a thread while the caller works on one.

        :raises BadDump: for an empty, cut or broken file.
        """
        return ahead(self._blocks())

    def read_checksum(self) -> str:
        """Read the whole file only for its checksum.

        :raises BadDump: for an empty, cut or broken file.
        """
        for _ in ahead(self._pieces()):
            pass
        return self.checksum

    def _blocks(self) -> Iterator[Block]:
        carry, line, start = b"", 1, True
        for piece in self._pieces():
            if start:
                piece, start = piece.removeprefix(_BOM), False
            end = piece.rfind(b"\n")
            if end < 0:
                carry = (carry + piece)[: MAX_RAW_BYTES + 1]
                continue
            block = self._block(line, b"".join((carry, memoryview(piece)[:end])).removesuffix(b"\r"))
            carry = piece[end + 1 :]
            line += len(block.lines)
            yield block
        if carry:
            yield self._block(line, carry)

    def _block(self, line: int, data: bytes) -> Block:
        data = data.replace(b"\r\n", b"\n")
        lines = pc.split_pattern(pa.array([data], pa.large_binary()), "\n").values
        return Block(line, data, lines, self._consumed)

    def _pieces(self) -> Iterator[bytes]:
        """The decompressed content in pieces of about the block size."""
        try:
            with self.path.open("rb") as file:
                empty = True
                for piece in self._decompressed(file):
                    empty = False
                    self._hash.update(piece)
                    yield piece
        except OSError as error:
            raise BadDump(f"{self.path} can't be read: {error.strerror or error}") from None
        if empty:
            raise BadDump(f"{self.path} is empty; fetch the dump again")

    def _decompressed(self, file: BinaryIO) -> Iterator[bytes]:
        head = file.read(8)
        file.seek(0)
        for magic, what in _OTHER_FORMATS.items():
            if head.startswith(magic):
                raise BadDump(f"{self.path} is {what}; a dump is tab-separated text, plain or gzip")
        pieces = self._inflated(file) if head.startswith(_GZIP) else iter(lambda: file.read(_INPUT_BYTES), b"")
        gathered: list[bytes] = []
        for piece in pieces:
            gathered.append(piece)
            if sum(map(len, gathered)) >= BLOCK_BYTES:
                self._consumed = file.tell()
                yield b"".join(gathered)
                gathered = []
        self._consumed = file.tell()
        if any(gathered):
            yield b"".join(gathered)

    def _inflated(self, file: BinaryIO) -> Iterator[bytes]:
        """Gzip members one after another, each proved by its CRC and length; zero padding after one is legal."""
        data = file.read(_INPUT_BYTES)
        while data:
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            while not member.eof:
                try:
                    piece = member.decompress(data, BLOCK_BYTES)
                except zlib.error as error:
                    raise BadDump(f"{self.path} is a broken gzip file ({error}); fetch it again") from None
                if not (data or piece or member.eof):
                    raise BadDump(f"{self.path} is cut short: its gzip stream ends too early; fetch it again")
                yield piece
                data = member.unconsumed_tail or (b"" if member.eof else file.read(_INPUT_BYTES))
            data = member.unused_data.lstrip(b"\0")
            while not data and (more := file.read(_INPUT_BYTES)):
                data = more.lstrip(b"\0")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Make each next item in a thread while the caller works on the one before."""
    with ThreadPoolExecutor(1) as pool:
        end = object()
        pending = pool.submit(next, items, end)
        while (item := pending.result()) is not end:
            pending = pool.submit(next, items, end)
            yield cast(T, item)
