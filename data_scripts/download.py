"""Downloads that can be cut off and go on, and a lock file that notices when what they bring has
changed.
"""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Final

from m2v_lib.data.store import DataError

BLOCK: Final = 1 << 16


def fetch(
    url: str, target: Path, *, tries: int = 5, timeout: float = 30.0, pause: float = 1.0
) -> Path:
    """Download ``url`` to ``target``; what arrives collects in ``<target>.part`` and is gone on
    with after a break.

    A file that is there already is left alone. After ``tries`` breaks without a byte of
    progress, or at an answer that will not change (404), it raises ``DataError``; the partial
    file stays for the next attempt.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    left = tries
    while left > 0:
        before = part.stat().st_size if part.exists() else 0
        try:
            _append(url, part, timeout)
            os.replace(part, target)
            return target
        except urllib.error.HTTPError as error:
            if error.code == 416:  # more is there than the server has: begin anew
                part.unlink(missing_ok=True)
            elif error.code < 500:
                raise DataError(
                    f"{url}: the server answers {error.code} {error.reason}, expected the file"
                ) from error
            reason: Exception = error
        except (HTTPException, OSError) as error:  # urllib's URLError and timeouts are OSErrors
            if isinstance(error, OSError) and error.errno == 28:
                raise DataError(
                    f"{part}: no space left on the disk, what arrived is kept"
                ) from error
            reason = error
        after = part.stat().st_size if part.exists() else 0
        left = tries if after > before else left - 1
        time.sleep(pause)
    raise DataError(
        f"{url}: gave up after {tries} tries ({reason}), run again to go on from byte {after}"
    )


def _append(url: str, part: Path, timeout: float) -> None:
    """Ask for the bytes that are missing and append them; an answer with the whole file starts
    from zero.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        length = answer.headers.get("Content-Length")
        begin = have if resumed else 0
        with part.open("r+b" if part.exists() else "wb") as stream:
            stream.truncate(begin)
            stream.seek(begin)
            while block := answer.read(BLOCK):
                stream.write(block)
            got = stream.tell() - begin
    if length is not None and got != int(length):
        raise OSError(f"the connection ended after {got} of {length} bytes")


def sha256(path: Path) -> str:
    """The checksum of a text file, line endings read as LF: copies of the database differ in
    them.
    """
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


class Lock:
    """Checksums by file name: the ``known`` ones come with the code, others are written down at
    first sight.

    Both files hold lines ``<sha256>  <name>``.
    """

    def __init__(self, path: Path, known: Path | None = None) -> None:
        self.path = path
        self.known = _read_sums(known) if known else {}
        self.recorded = _read_sums(path)

    def check(self, name: str, file: Path) -> None:
        """Compare ``file`` with its checksum, or note that of a new one; one that differs is
        moved aside: an error.
        """
        found = sha256(file)
        expected = self.known.get(name) or self.recorded.get(name)
        if expected is None:
            self.recorded[name] = found
            self._write()
        elif found != expected:
            aside = file.with_name(file.name + ".bad")
            os.replace(file, aside)
            raise DataError(
                f"{name}: sha256 is {found[:16]}, expected {expected[:16]}; the file was moved to "
                f"{aside}"
            )

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(self.path.name + ".part")
        beside.write_text(
            "".join(f"{value}  {name}\n" for name, value in sorted(self.recorded.items()))
        )
        os.replace(beside, self.path)


def _read_sums(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    if bad := [line for line in lines if len(line) != 2 or len(line[0]) != 64]:
        raise DataError(f"{path}: cannot read {' '.join(bad[0])!r}, expected '<sha256>  <name>'")
    return {name: value for value, name in lines}
