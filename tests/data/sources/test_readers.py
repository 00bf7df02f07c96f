"""Which kind of data a file is, where files are looked for, and when a store is made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.h36m import CPN, N_FRAMES, PICKLE, WORLD, Files

from m2v_lib.cli import main
from m2v_lib.data import prepare
from m2v_lib.data.export import FORMS, export_store
from m2v_lib.data.sources.mocap import write_pack
from m2v_lib.data.sources.readers import READERS, find_sources, kind_of, sha256_of
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import DataError, open_store
from m2v_lib.data.store.action_store import open_action_store


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """One store in the layout of every data set."""
    made = Files(tmp_path_factory.mktemp("files"))
    for form in ("3dhp", "ntu60"):
        export_store("toy", form, made.folder, root=made.folder / "stores")
    pack = make_pack(Plan(n_train=1, n_test=1, n_frames=12, styles=("walk",)))
    write_pack(made.folder / "pack.npz", pack)
    return made


@pytest.mark.parametrize("kind", READERS)
def test_every_reader_is_there_and_names_files_that_exist(kind: str) -> None:
    reader = READERS[kind]
    assert callable(reader.call(reader.function))
    assert reader.version >= 1
    assert not reader.files or (callable(reader.call("looks_like")) and reader.advice)


def test_every_kind_is_known_by_content(files: Files, tmp_path: Path) -> None:
    names = {
        "mocap": ["pack.npz"],
        "h36m": [PICKLE],
        "mpi_inf_3dhp": ["data_train_3dhp.npz", "data_test_3dhp.npz"],
        "ntu60": ["ntu60_hrnet.pkl"],
    }
    for kind, given in names.items():
        renamed = []
        for i, name in enumerate(given):
            renamed.append(tmp_path / f"{kind}{i}")
            renamed[-1].symlink_to(files.folder / name)
        assert kind_of("mine", renamed) == kind
    assert kind_of("mine", [files.folder / WORLD, files.folder / CPN]) == "h36m"
    assert kind_of("mine", [files.folder / f"H36M-{N_FRAMES}", files.folder / PICKLE]) == "h36m"
    assert kind_of("mocap", [files.folder / PICKLE]) == "mocap"  # a name of ours wins


def test_what_is_no_data_set_is_one_sentence(files: Files, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("hello")
    with pytest.raises(
        DataError, match="text.txt: no file that is known, expected those of mocap, h36m, mpi_"
    ):
        kind_of("mine", [text])
    with pytest.raises(DataError, match="files of several kinds, expected those of mocap, h36m"):
        kind_of("mine", [files.folder / "pack.npz", files.folder / PICKLE])
    with pytest.raises(
        DataError, match="mine: no such data set, expected one of synthetic, mocap, h36m"
    ):
        kind_of("mine", [])
    with pytest.raises(DataError, match="kind 'h36' is not known, expected one of synthetic"):
        prepare("mine", root=tmp_path, source=text, kind="h36")
    with pytest.raises(DataError, match="nothing.pkl: no such file"):
        find_sources("h36m", [tmp_path / "nothing.pkl"])
    with pytest.raises(DataError, match="got 2 sources, expected one motion capture pack"):
        prepare("mocap", root=tmp_path, source=[files.folder / "pack.npz", text])


@pytest.mark.parametrize("kind", [kind for kind, reader in READERS.items() if reader.files])
def test_without_files_the_sentence_names_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M2V_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match=f"{tmp_path}: holds no {READERS[kind].files[0][0]}.*--source"
    ) as caught:
        find_sources(kind, [])
    assert READERS[kind].advice in str(caught.value)


def test_a_store_is_made_anew_when_a_file_or_an_option_changes(
    files: Files, tmp_path: Path
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for part in ("train", "test"):
        (clips / part).mkdir()
        for file in (files.folder / f"H36M-{N_FRAMES}" / part).iterdir():
            (clips / part / file.name).write_bytes(file.read_bytes())

    def stamp(**options: Any) -> int:
        path = prepare("mine", root=tmp_path, source=[clips, files.folder / PICKLE], **options)
        return (path / "meta.json").stat().st_mtime_ns

    first = stamp()
    assert stamp() == first and stamp(val_subjects=None) == first
    second = stamp(faulty="kept")
    assert second != first and stamp(faulty="kept") == second
    changed = clips / "train" / "00000002.pkl"
    changed.write_bytes(
        changed.read_bytes() + b" "
    )  # after the pickle's last instruction: same contents, another file
    assert stamp(faulty="kept") != second


def test_a_folder_is_told_by_its_files_and_their_names(tmp_path: Path) -> None:
    for name, contents in (("a/x", b"1"), ("b/x", b"1"), ("c/y", b"1"), ("d/x", b"2")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(contents)
    a, b, c, d = (sha256_of(tmp_path / name) for name in "abcd")
    assert a == b and len({a, c, d}) == 3
    assert (
        sha256_of(tmp_path / "a" / "x")
        == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    )


def test_the_command_line_prepares_exports_and_lists(
    files: Files,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("M2V_STORE", str(tmp_path / "stores"))
    words = [
        "data",
        "prepare",
        "h36m",
        "--source",
        str(files.folder / WORLD),
        str(files.folder / CPN),
        "--name",
        "mine",
    ]
    assert main([*words, "--set", "val_subjects=S1"]) == 0, capsys.readouterr().err
    assert open_store("mine").meta.val_subjects == ("S1",)
    assert main(["data", "prepare", "acts", "--source", str(files.folder / "ntu60_hrnet.pkl")]) == 0
    assert open_action_store("acts").meta.recipe
    assert main(["data", "prepare", "toy", "--source", str(files.folder / PICKLE)]) == 0
    capsys.readouterr()
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "mine",
        "toy",
        "acts",
    ] and "camera space" in lines[0]
    for form in FORMS:
        extra = ["--set", f"n_frames={N_FRAMES}"] if form == "h36m-clips" else []
        assert (
            main(["data", "export", "toy", "--as", form, "-o", str(tmp_path / form), *extra]) == 0
        ), form
        written = capsys.readouterr().out.splitlines()
        assert written and all(Path(line).is_file() for line in written)
    assert main(["data", "export", "toy", "--as", "coco", "-o", str(tmp_path)]) == 2
    assert (
        main(
            [
                "data",
                "prepare",
                "h36m",
                "--source",
                str(files.folder / PICKLE),
                "--set",
                "scale=paper",
            ]
        )
        == 2
    )
    assert (
        "there is no option 'scale', this kind of data takes faulty, val_subjects"
        in capsys.readouterr().err
    )
