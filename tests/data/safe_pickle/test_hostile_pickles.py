"""Pickles written to do harm or broken on the way: one sentence each, nothing of them runs, no
memory is taken.
"""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.data.checks import DataError
from m2v_lib.data.safe_pickle import machine as pickle_machine
from m2v_lib.data.safe_pickle.reader import read_object_npz, read_pickle


def saved(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    return path


class Call:
    """Pickles as a call of ``function``, as an attacker writes it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


class Own:
    """An ordinary object, which unpickling would make by calling its class."""


CALLS: dict[str, tuple[Callable[[str], Any], str]] = {
    "os.system": (lambda marker: Call(os.system, f"touch {marker}"), "system"),
    "eval": (lambda marker: Call(eval, f"open({marker!r}, 'w')"), ".eval"),
    "exec": (lambda marker: Call(exec, f"open({marker!r}, 'w')"), ".exec"),
    "open": (lambda marker: Call(open, marker, "w"), "open"),
    "getattr": (lambda marker: Call(getattr, "x", "upper"), ".getattr"),
    "popen": (lambda marker: Call(subprocess.Popen, ["touch", marker]), ".Popen"),
    "numpy.load": (lambda marker: Call(np.load, marker), "load"),
    "an object": (lambda marker: Own(), "Own"),
    "a function": (lambda marker: saved, "saved"),
}


@pytest.mark.parametrize("attack", CALLS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_call_is_refused_by_name_and_not_run(attack: str, protocol: int, tmp_path: Path) -> None:
    make, name = CALLS[attack]
    marker = tmp_path / "was-run"
    hidden = {"train": [np.arange(3), {"deep": make(str(marker))}]}
    path = saved(tmp_path / "a.pkl", pickle.dumps(hidden, protocol))
    with pytest.raises(
        DataError, match=rf"asks for '[\w.]*{name}', which is not numpy data; nothing"
    ) as caught:
        read_pickle(path)
    np.savez(tmp_path / "a.npz", data=np.array(hidden, object))
    with pytest.raises(DataError, match=rf"a.npz: array 'data': asks for '[\w.]*{name}'"):
        read_object_npz(tmp_path / "a.npz")
    assert not marker.exists()
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_the_attacks_would_work_elsewhere(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    pickle.loads(pickle.dumps(CALLS["os.system"][0](str(marker))))
    assert marker.exists()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
DTYPE = (
    b"cnumpy\ndtype\nX\x02\x00\x00\x00%s\x89\x88\x87R"
    b"(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)


def array_state(shape: bytes, dtype: bytes, contents: bytes) -> bytes:
    return ARRAY + b"(K\x01" + shape + dtype + b"\x89" + contents + b"tb."


def int8(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little")


#: pickles after their first two bytes -> the sentence
WRITTEN: dict[str, tuple[bytes, str]] = {
    "old-style instance": (b"(ios\nsystem\n.", "the instruction b'i'"),
    "object instruction": (b"(cos\nsystem\no.", "asks for 'os.system'"),
    "new object": (b"cnumpy\nndarray\nK\x05\x85\x81.", r"instruction b'\\x81'"),
    "extension": (b"\x82\x01.", r"instruction b'\\x82'"),
    "persistent": (b"Pname\n.", "instruction b'P'"),
    "persistent on the stack": (b"NQ.", "instruction b'Q'"),
    "buffer from outside": (b"\x97.", r"instruction b'\\x97'"),
    "name in two texts": (b"\x8c\x05posix\x8c\x06system\x93.", "asks for 'posix.system'"),
    "dotted name": (
        b"\x8c\x05numpy\x8c\x10ndarray.tofile.x\x93.",
        "asks for 'numpy.ndarray.tofile.x'",
    ),
    "a number as a name": (b"K\x01K\x02\x93.", "asks for a name that is a number"),
    "call of a text": (b"X\x06\x00\x00\x00system)R.", "calls something that has no name"),
    "call of a built array": (
        array_state(b"K\x00\x85", DTYPE % b"f4", b"C\x00")[:-1] + b")R.",
        "that has no name",
    ),
    "bare class": (b"cnumpy\nndarray\n.", "holds an array without contents, or a bare name"),
    "class as a factory": (
        b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.",
        "calls ndarray with other arguments",
    ),
    "array of another class": (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85C\x01b\x87R.",
        "calls",
    ),
    "array without contents": (ARRAY + b".", "holds an array without contents"),
    "array used too early": (ARRAY + b"q\x00h\x00.", "uses an array before its contents"),
    "inside of a list": (b"](K\x01tb.", "sets the inside of a list"),
    "bytes of a size": (
        b"c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.",
        "calls bytes with other arguments",
    ),
    "another codec": (
        b"c_codecs\nencode\nX\x01\x00\x00\x00xX\x03\x00\x00\x00zip\x86R.",
        "calls encode with other",
    ),
    "2 GB of bytes": (b"B\xff\xff\xff\x7f.", r"2147483647 bytes follow where 1 are left"),
    "16 EB of bytes": (b"\x8e" + b"\xff" * 8 + b".", "bytes follow where 1 are left"),
    "2 GB of text": (b"X\xff\xff\xff\x7f.", "2147483647 bytes follow"),
    "2 GB number": (b"\x8b\xff\xff\xff\x7f.", "whole number of 2147483647 bytes"),
    "memo far out": (b"Nr\xff\xff\xff\x7f0.", "instruction b'0'"),
    "a petabyte array": (
        array_state(int8(10**15) + b"\x85", DTYPE % b"f4", b"C\x04abcd"),
        r"but has 4 bytes for it",
    ),
    "many objects": (
        array_state(int8(10**15) + b"\x85", DTYPE % b"O8", b"]"),
        "10{15} objects .* does not list them",
    ),
    "objects from bytes": (
        array_state(b"K\x01\x85", DTYPE % b"O8", b"C\x08abcdefgh"),
        "does not list them",
    ),
    "negative shape": (
        array_state(b"J\xff\xff\xff\xff\x85", DTYPE % b"f4", b"C\x00"),
        "is not whole numbers",
    ),
    "nine dimensions": (
        array_state(b"(" + b"K\x01" * 9 + b"t", DTYPE % b"f4", b"C\x04abcd"),
        "more than eight dim",
    ),
    "shape of text": (
        array_state(b"X\x01\x00\x00\x009\x85", DTYPE % b"f4", b"C\x00"),
        "is not whole numbers",
    ),
    "raw memory": (
        array_state(b"K\x01\x85", DTYPE % b"V8", b"C\x08abcdefgh"),
        "an array of 'V8', expected numbers",
    ),
    "dates": (array_state(b"K\x01\x85", DTYPE % b"M8", b"C\x08abcdefgh"), "an array of 'M8'"),
    "dtype with fields": (
        (DTYPE % b"f4").replace(b"NNN", b"NN}") + b".",
        "holds an array of records",
    ),
    "dtype of a subarray": (
        (DTYPE % b"f4").replace(b"NNN", b"]NN") + b".",
        "holds an array of records",
    ),
    "dtype of a false size": (
        (DTYPE % b"f4").replace(b"NNNJ\xff\xff\xff\xff", b"NNNJ\x00\x01\x00\x00"),
        "a false size",
    ),
    "text of no width": (
        array_state(int8(10**15) + b"\x85", DTYPE % b"U0", b"C\x00"),
        "but has 0 bytes for it",
    ),
    "object as a scalar": (
        b"cnumpy.core.multiarray\nscalar\n" + DTYPE % b"O8" + b"C\x08abcdefgh\x86R.",
        "does not list them",
    ),
    "characters that are none": (
        array_state(b"K\x01\x85", DTYPE % b"U1", b"C\x04\xff\xff\xff\xff"),
        "do not exist",
    ),
    "unhashable key": (b"}]Ns.", "a list as the key"),
    "tuple of tuples as a key": (b"})" + b"\x85" * 200_000 + b"Ns.", "a tuple as the key"),
    "list in a set": (b"\x8f(]\x90.", "a list as the key of a dictionary or the member of a set"),
    "items for a number": (b"K\x01(K\x02e.", "adds items to something that is no list"),
    "items for a text": (b"X\x00\x00\x00\x00(NNu.", "adds items to something that is no dict"),
    "odd items": (b"}(Nu.", "is damaged"),
    "no mark": (b"]e.", "is damaged"),
    "empty stack": (b".", "is damaged"),
    "unknown memo": (b"h\x05.", "is damaged"),
    "not UTF-8": (b"X\x01\x00\x00\x00\xff.", "is damaged"),
    "protocol 9": (b"\x80\x09N.", "pickle protocol 9, this reader knows 0 to 5"),
    "no end": (b"N", "ends before its last instruction"),
    "name without an end": (b"cnumpy", "a line without an end"),
}


@pytest.mark.parametrize("attack", WRITTEN)
def test_a_crafted_pickle_is_one_sentence(attack: str, tmp_path: Path) -> None:
    instructions, sentence = WRITTEN[attack]
    path = saved(tmp_path / "a.pkl", b"\x80\x03" + instructions)
    tracemalloc.start()
    with pytest.raises(DataError, match=sentence) as caught:
        read_pickle(path)
    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_booleans_are_made_of_zeros_and_ones(tmp_path: Path) -> None:
    raw = b"\x80\x03" + array_state(b"K\x03\x85", DTYPE % b"b1", b"C\x03\x00\x01\xfe")
    assert read_pickle(saved(tmp_path / "a.pkl", raw)).view(np.uint8).tolist() == [0, 1, 1]


def test_containers_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_machine, "MAX_PICKLE_CONTAINERS", 1000)
    path = saved(tmp_path / "a.pkl", b"\x80\x03]" + b"(" + b"]" * 2000 + b"e.")
    with pytest.raises(DataError, match="holds more than 1000 containers"):
        read_pickle(path)


def test_every_truncation_of_a_pickle_is_one_sentence(tmp_path: Path) -> None:
    small = {
        "a": np.arange(3),
        "b": ["x", "y"],
        "c": np.float32(1),
        "d": np.array(["text", None], object),
    }
    for protocol in (2, 4):
        whole = pickle.dumps(small, protocol)
        for n in range(1, len(whole)):
            with pytest.raises(DataError, match=r"a.pkl: "):
                read_pickle(saved(tmp_path / "a.pkl", whole[:n]))


def test_damaged_pickles_never_end_in_another_error(tmp_path: Path) -> None:
    whole = pickle.dumps(
        {"a": np.arange(3), "b": ["x", {1}], "c": np.array([{"k": np.str_("v")}], object)}, 4
    )
    draw = random.Random(0)
    refused = 0
    for _ in range(3000):
        raw = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            raw[draw.randrange(2, len(raw))] = draw.randrange(256)
        try:
            read_pickle(saved(tmp_path / "a.pkl", bytes(raw)))
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 1000
