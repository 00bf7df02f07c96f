"""A store replaces a store of its name and nothing else: whatever else lies there stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from m2v_lib import cli
from m2v_lib.data import prepare
from m2v_lib.data.checks import DataError
from m2v_lib.data.store import folders, open_store, pose_store
from m2v_lib.data.store.folders import bring_back, check_store_name, remove_store, store_folder


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def pictures(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "one.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "meta.txt").write_text("mine")
    return folder


def refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> str:
    before = snapshot(tmp_path)
    assert cli.main(["data", "prepare", "synthetic", "--name", name]) == 2
    assert snapshot(tmp_path) == before
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("M2V_STORE", str(tmp_path / "data"))
    monkeypatch.setenv("M2V_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_a_folder_of_pictures_is_left_alone(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(root / "photos")
    assert "is no store" in refused(tmp_path, "photos", capsys)


def test_the_raw_data_set_of_the_same_name_is_left_alone(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(root / "synthetic")
    assert "is no store" in refused(tmp_path, "synthetic", capsys)


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "..", ".", "", "/x", ".hidden", "x" * 101, "a\nb", "a\x1b[2J", "-x"]
)
def test_a_name_must_be_one_plain_folder_name(name: str) -> None:
    with pytest.raises(DataError, match="store name must be") as caught:
        check_store_name(name)
    assert str(caught.value).isprintable()


def test_paths_out_of_the_root_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "x")
    assert "store name must be" in refused(tmp_path, "../x", capsys)


def test_links_and_files_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "linked").symlink_to(pictures(tmp_path / "mine"))
    assert "symbolic link" in refused(tmp_path, "linked", capsys)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    assert "symbolic link" in refused(tmp_path, "dangling", capsys)
    (root / "file").write_text("mine")
    assert "is a file" in refused(tmp_path, "file", capsys)


def test_a_store_with_something_beside_it_and_another_store_are_refused(
    tmp_path: Path, write_tiny_store: Callable[..., Path]
) -> None:
    path = write_tiny_store(tmp_path)
    assert store_folder(tmp_path, "tiny") == path
    (path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"'notes.txt', which is no part of a store"):
        store_folder(tmp_path, "tiny")
    (path / "notes.txt").unlink()
    path.rename(tmp_path / "copy")
    with pytest.raises(DataError, match="is the store 'tiny'"):
        store_folder(tmp_path, "copy")
    (tmp_path / "copy" / "meta.json").write_text("[" * 5000)
    with pytest.raises(DataError, match="description cannot be read"):
        store_folder(tmp_path, "copy")


def test_a_store_is_replaced_by_one_of_its_name(
    tmp_path: Path, write_tiny_store: Callable[..., Path]
) -> None:
    write_tiny_store(tmp_path)
    before = open_store("tiny", tmp_path).meta.fingerprint
    write_tiny_store(tmp_path, seed=5)
    assert open_store("tiny", tmp_path).meta.fingerprint != before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_what_arrives_during_the_work_is_not_deleted(
    tmp_path: Path, write_tiny_store: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_store(tmp_path)
    replace = os.replace

    def slip_in(source: Path, target: Path) -> None:
        replace(source, target)
        if Path(target).name.startswith(".tiny-old"):
            (Path(target) / "late.txt").write_text("mine")

    monkeypatch.setattr(folders.os, "replace", slip_in)
    write_tiny_store(tmp_path, seed=5)
    assert [p.read_text() for p in tmp_path.glob(".tiny-old-*/late.txt")] == ["mine"]
    assert (path / "meta.json").is_file()


def test_a_replacement_killed_half_way_is_undone(
    tmp_path: Path, write_tiny_store: Callable[..., Path]
) -> None:
    path = write_tiny_store(tmp_path)
    path.rename(tmp_path / ".tiny-old-12345")
    bring_back(tmp_path, "tiny")
    open_store("tiny", tmp_path).verify()
    pictures(tmp_path / ".other-old-1")
    bring_back(tmp_path, "other")
    assert not (tmp_path / "other").exists()


def test_what_killed_processes_left_goes_with_the_next_store_of_the_name(
    tmp_path: Path, write_tiny_store: Callable[..., Path]
) -> None:
    """Half-built ones, and older ones of a store in its place; nothing of other names."""
    path = write_tiny_store(tmp_path)
    kept = ("tiny", ".tiny-new-old-7", ".tiny-mine-1", ".other-old-7")
    for name in (".tiny-new-ab_1", ".tiny-old-77", *kept[1:]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "meta.json").write_bytes((path / "meta.json").read_bytes())
    write_tiny_store(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_an_older_store_that_stands_aside_alone_is_never_removed(
    tmp_path: Path, write_tiny_store: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_store(tmp_path)
    path.rename(tmp_path / ".tiny-old-77")
    monkeypatch.setattr(pose_store, "_write_files", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_tiny_store(tmp_path)
    open_store("tiny", tmp_path).verify()
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


def test_only_a_stores_own_files_are_removed(tmp_path: Path) -> None:
    remove_store(pictures(tmp_path / "photos"))
    assert (tmp_path / "photos" / "one.jpg").is_file()


def test_prepare_says_so_before_it_reads(root: Path) -> None:
    pictures(root / "photos")
    with pytest.raises(DataError, match="is no store"):
        prepare("photos", source=root / "no such file", kind="mocap")


def test_an_export_overwrites_nothing(
    tmp_path: Path, write_tiny_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_store(Path(os.environ["M2V_STORE"]))
    pictures(tmp_path / "data")
    arguments = ["data", "export", "tiny", "--as", "h36m-npz", "-o", str(tmp_path / "data")]
    assert cli.main(arguments) == 2
    assert "new or an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["k.json", "./k.json", "link.json"])
def test_lifting_does_not_overwrite_its_input(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k.json").write_text("[]")
    (tmp_path / "link.json").symlink_to(tmp_path / "k.json")
    assert cli.main(["lift", "k.json", "-o", out]) == 2
    assert "overwrite" in capsys.readouterr().err
    assert (tmp_path / "k.json").read_text() == "[]"
