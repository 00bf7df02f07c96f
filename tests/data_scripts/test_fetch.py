"""The downloader against a server of our own: breaks are resumed, changed files refused, a pack
comes out.
"""

from __future__ import annotations

import importlib
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from fakes.rig import write_rig

from m2v_lib.data.sources.mocap import read_pack
from m2v_lib.data.store import DataError

SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"


@pytest.fixture
def download(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("download")


@pytest.fixture
def fetch_cmu(download: ModuleType) -> ModuleType:
    return importlib.import_module("fetch_cmu")


@dataclass
class Server:
    """Serves ``files`` by path; ``cut`` ends one answer each after so many bytes; ``log`` keeps
    the ranges.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    ranges: bool = True
    log: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.log.append((self.path, asked))
            body = state.files.get(self.path.lstrip("/"))
            if body is None:
                return self.send_error(404)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            if start and start >= len(body):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            stop = start + state.cut.pop(0) if state.cut else len(body)
            self.wfile.write(body[start:stop])

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(
        target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    yield state
    httpd.shutdown()
    httpd.server_close()
    thread.join(5)


BODY = bytes(range(256)) * 1000


def test_breaks_are_resumed_where_they_happened(
    download: ModuleType, server: Server, tmp_path: Path
) -> None:
    server.files["a"], server.cut = BODY, [100_000, 50_000]
    file = download.fetch(f"{server.url}/a", tmp_path / "deep" / "a", pause=0, timeout=5)
    assert file.read_bytes() == BODY
    assert server.log == [("/a", None), ("/a", "bytes=100000-"), ("/a", "bytes=150000-")]
    assert [p.name for p in file.parent.iterdir()] == ["a"]
    download.fetch(f"{server.url}/a", file, pause=0)
    assert len(server.log) == 3  # a whole file is not asked for again


def test_a_later_run_goes_on_with_the_part(
    download: ModuleType, server: Server, tmp_path: Path
) -> None:
    server.files["a"], server.cut = BODY, [70_000, 0, 0]
    with pytest.raises(DataError, match=r"/a: gave up after 2 tries .* go on from byte 70000"):
        download.fetch(f"{server.url}/a", tmp_path / "a", tries=2, pause=0, timeout=5)
    assert not (tmp_path / "a").exists() and (tmp_path / "a.part").stat().st_size == 70_000
    assert (
        download.fetch(f"{server.url}/a", tmp_path / "a", pause=0, timeout=5).read_bytes() == BODY
    )
    assert server.log[-1] == ("/a", "bytes=70000-")


def test_a_server_without_ranges_starts_over(
    download: ModuleType, server: Server, tmp_path: Path
) -> None:
    server.files["a"], server.cut, server.ranges = BODY, [70_000], False
    assert (
        download.fetch(f"{server.url}/a", tmp_path / "a", pause=0, timeout=5).read_bytes() == BODY
    )


def test_a_part_longer_than_the_file_starts_over(
    download: ModuleType, server: Server, tmp_path: Path
) -> None:
    server.files["a"] = BODY
    (tmp_path / "a.part").write_bytes(BODY + b"more")
    assert (
        download.fetch(f"{server.url}/a", tmp_path / "a", pause=0, timeout=5).read_bytes() == BODY
    )


def test_a_missing_file_is_not_tried_again(
    download: ModuleType, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="/a: the server answers 404 Not Found"):
        download.fetch(f"{server.url}/a", tmp_path / "a", pause=0, timeout=5)
    assert len(server.log) == 1 and not list(tmp_path.iterdir())


def test_checksums_are_written_once_and_held(download: ModuleType, tmp_path: Path) -> None:
    file, sums = tmp_path / "x.amc", tmp_path / "SHA256SUMS"
    file.write_bytes(b"one\r\ntwo\r\n")
    download.Lock(sums).check("x.amc", file)
    assert sums.read_text().endswith("  x.amc\n")
    file.write_bytes(b"one\ntwo\n")  # the same but for line endings
    download.Lock(sums).check("x.amc", file)
    file.write_bytes(b"one\nthree\n")
    with pytest.raises(
        DataError,
        match=r"x.amc: sha256 is \w{16}, expected \w{16}; the file was moved to .*x.amc.bad",
    ):
        download.Lock(sums).check("x.amc", file)
    assert not file.exists()
    sums.write_text("nonsense\n")
    with pytest.raises(DataError, match="cannot read 'nonsense'"):
        download.Lock(sums)


def test_a_known_checksum_wins_over_first_sight(download: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("0" * 64 + "  x.amc\n")
    (tmp_path / "x.amc").write_text("changed")
    with pytest.raises(DataError, match="expected 0000000000000000"):
        download.Lock(tmp_path / "SHA256SUMS", tmp_path / "known").check(
            "x.amc", tmp_path / "x.amc"
        )
    assert not (tmp_path / "SHA256SUMS").exists()


def test_from_server_to_pack(fetch_cmu: ModuleType, server: Server, tmp_path: Path) -> None:
    asf, amc = write_rig(tmp_path, n_frames=130, turn=0, bend=0)
    server.files = {"77/77.asf": asf.read_bytes(), "77/77_01.amc": amc.read_bytes()}
    server.cut = [500]
    clips = tmp_path / "clips.csv"
    clips.write_text('amc,action,action_class\n77_01,"stand, and wait",other\n')
    arguments = {"base": server.url, "clips": clips, "known": tmp_path / "none", "pause": 0}
    pack = fetch_cmu.fetch_pack(tmp_path / "data", **arguments)
    clip = read_pack(pack).clips[0]
    assert (clip.name, clip.action, clip.action_class) == (
        "CMU_77_01#0",
        "stand, and wait",
        "other",
    )
    asked = len(server.log)
    fetch_cmu.fetch_pack(tmp_path / "data", **arguments)
    assert len(server.log) == asked
    pack.unlink()
    fetch_cmu.fetch_pack(tmp_path / "data", **arguments)  # raw files are kept: no download
    assert len(server.log) == asked and pack.exists()
    shutil.rmtree(tmp_path / "data" / "cmu_mocap" / "raw" / "77")
    server.files["77/77_01.amc"] = amc.read_bytes().replace(b"lhumerus 0", b"lhumerus 6")
    pack.unlink()
    with pytest.raises(DataError, match=r"77/77_01.amc: sha256 is"):
        fetch_cmu.fetch_pack(tmp_path / "data", **arguments)
    assert not pack.exists()


def test_the_command_line_ends_with_one_sentence(
    fetch_cmu: ModuleType, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch_cmu.main(["--data", str(tmp_path), "--only", "99_99", "--base", server.url]) == 1
    error = capsys.readouterr().err
    assert "has no clip 99_99" in error and error.count("\n") == 1
    assert fetch_cmu.main(["--data", str(tmp_path), "--only", "05_01", "--base", server.url]) == 1
    assert "the server answers 404" in capsys.readouterr().err


def test_the_shipped_lists_are_sound(fetch_cmu: ModuleType, download: ModuleType) -> None:
    rows = fetch_cmu.read_clips(fetch_cmu.CLIPS)
    assert len(rows) == 288 and len({row.subject for row in rows}) == 21
    assert len({row.action_class for row in rows}) == 10
    known = download.Lock(Path("none"), fetch_cmu.KNOWN).known
    names = {f"{r.subject}/{r.name}.amc" for r in rows} | {
        f"{r.subject}/{r.subject}.asf" for r in rows
    }
    assert len(known) == 13 and known.keys() <= names
    assert "download" in sys.modules
