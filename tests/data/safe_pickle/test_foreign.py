"""Foreign files: numpy data comes back as it was; what is anything else is refused by name, and
nothing of it runs.
"""

from __future__ import annotations

import pickle
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.data.checks import DataError
from m2v_lib.data.safe_pickle import reader as foreign
from m2v_lib.data.safe_pickle.reader import read_object_npz, read_pickle

RNG = np.random.default_rng(0)
DATA: dict[Any, Any] = {
    "joint_2d": RNG.normal(size=(40, 17, 2)).astype(np.float32),
    "fortran": np.asfortranarray(RNG.normal(size=(5, 4))),
    "big-endian": np.arange(4, dtype=">i4"),
    "half": np.array([1.5, 2], np.float16),
    "none": np.empty((0, 3)),
    "bool": np.array([[True, False]]),
    "text": np.array(["aé", "bcd"]),
    "bytes": np.array([b"a", b"bc"]),
    "objects": np.asfortranarray(np.array([[1, {"a": 2}, "x"], [None, [1, 2], (3,)]], object)),
    "large": np.arange(20_000),
    "scalars": [np.float32(3), np.int64(7), np.str_("text"), np.bool_(True)],
    "source": [f"s_{i // 10}" for i in range(3000)],
    "plain": (
        1,
        -5,
        300,
        70_000,
        2**70,
        -(2**70),
        2.5,
        True,
        False,
        None,
        "é" * 300,
        b"12",
        b"x" * 300,
    ),
    "sets": {"set": {1, 2}, "frozen": frozenset(["a"]), "ordered": OrderedDict(a=1, b=[])},
    3: {(1, "pair"): [[], {}, ()]},
}


def assert_same(given: Any, back: Any) -> None:
    if isinstance(given, np.ndarray):
        assert (given.dtype, given.shape) == (back.dtype, back.shape)
        np.testing.assert_array_equal(given, back)
    elif isinstance(given, dict):
        assert list(given) == list(back) and type(back) is dict
        for key in given:
            assert_same(given[key], back[key])
    elif isinstance(given, (list, tuple)):
        assert type(given) is type(back) and len(given) == len(back)
        for one, other in zip(given, back, strict=True):
            assert_same(one, other)
    else:
        assert given == back and (isinstance(given, frozenset) or type(given) is type(back))


def saved(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_pickle_of_numpy_data_comes_back(
    protocol: int, mapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "MAPPED", 0 if mapped else 1 << 30)
    assert_same(DATA, read_pickle(saved(tmp_path / "a.pkl", pickle.dumps(DATA, protocol))))


def test_one_object_in_two_places_stays_one(tmp_path: Path) -> None:
    array, inner = np.arange(3), [1]
    back = read_pickle(
        saved(tmp_path / "a.pkl", pickle.dumps([array, array, inner, inner, "abc", "abc"]))
    )
    assert back[0] is back[1] and back[2] is back[3] and back[4] is back[5]


def test_equal_texts_are_one_object(tmp_path: Path) -> None:
    """Names per frame, each pickled on its own, must not cost 75 bytes a frame."""
    names = [f"s_09_act_{i % 3}" for i in range(900)]
    assert (
        len({id(name) for name in read_pickle(saved(tmp_path / "a.pkl", pickle.dumps(names)))}) == 3
    )


@pytest.mark.parametrize("core", ["core", "_core"])
def test_names_of_both_numpy_versions(core: str, tmp_path: Path) -> None:
    for protocol in (2, 4, 5):
        raw = pickle.dumps(DATA, protocol)
        for word in ("multiarray", "numeric"):
            for old in ("core", "_core"):
                was, now = f"numpy.{old}.{word}".encode(), f"numpy.{core}.{word}".encode()
                raw = raw.replace(
                    bytes([len(was)]) + was, bytes([len(now)]) + now
                )  # protocol 4: length first
                raw = raw.replace(b"c" + was, b"c" + now)
        if (
            protocol < 4
            # frames of protocol 4 hold lengths that no longer fit, which this reader does not
            # use
        ):
            assert f"numpy.{core}.multiarray".encode() in raw
        assert_same(DATA, read_pickle(saved(tmp_path / "a.pkl", raw)))


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    """{'x': array(2 floats)} as Python 2 writes it: its ``str`` are bytes, and so are an array's
    contents.
    """
    raw = (
        b"\x80\x02}U\x01xcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08" + np.array([1.5, -2], np.float32).tobytes() + b"tbs."
    )
    assert pickle.loads(raw, encoding="latin1")["x"].tolist() == [1.5, -2]
    assert read_pickle(saved(tmp_path / "a.pkl", raw))["x"].tolist() == [1.5, -2]


def test_arrays_of_a_mapped_pickle_are_views_and_cannot_be_written(tmp_path: Path) -> None:
    big = np.zeros((1 << 22, 8), np.float32)  # 128 MB
    path = tmp_path / "big.pkl"
    with path.open("wb") as stream:
        pickle.dump({"big": big}, stream)
    del big
    tracemalloc.start()
    back = read_pickle(path)["big"]
    assert back.shape == (1 << 22, 8) and tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_of_objects_comes_back(save: Callable[..., None], tmp_path: Path) -> None:
    arrays = {key: value for key, value in DATA.items() if isinstance(value, np.ndarray)}
    nested = {"S9": {"Walking 1": RNG.normal(size=(6, 32, 3)), "list": [1, "x"]}}
    save(tmp_path / "a.npz", positions_3d=np.array(nested, object), number=np.array(5), **arrays)
    back = read_object_npz(tmp_path / "a.npz")
    assert_same(nested, back.pop("positions_3d"))
    assert back.pop("number").item() == 5
    assert_same(arrays, back)


def test_other_kinds_of_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=1)
    contents = {"empty": b"", "json": b'{"a": 1}', "page": b"<html>", "text protocol": b"(lp0\n."}
    sentences = {"empty": "is empty, expected a pickle"}
    for name, raw in contents.items():
        with pytest.raises(
            DataError,
            match=sentences.get(name, "does not begin as a pickle of protocol 2 or later"),
        ):
            read_pickle(saved(tmp_path / name, raw))
    with pytest.raises(DataError, match="is a zip archive"):
        read_pickle(tmp_path / "a.npz")
    for read in (read_pickle, read_object_npz):
        with pytest.raises(DataError, match="nowhere: no such file"):
            read(tmp_path / "nowhere")
        with pytest.raises(DataError, match="is a folder, expected"):
            read(tmp_path)
