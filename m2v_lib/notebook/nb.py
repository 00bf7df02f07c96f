"""What every chapter uses to show itself: source listings, exercise checks, hints and shape
tables.

Everything prints or displays text that is the same on every machine, so that nbval can compare
it.
"""

from __future__ import annotations

import hashlib
import inspect
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import HTML, Markdown, display

import m2v_lib

_PACKAGE = Path(m2v_lib.__file__).resolve().parent
_SCRATCH: list[tempfile.TemporaryDirectory[str]] = []


def show_source(obj: Any) -> None:
    """Show the source of a function, method, class or module (of an instance: its class) and
    where it stands.

    Raises TypeError for what has no Python source, such as a number or a built-in.
    """
    obj = _with_source(obj)
    lines, first = inspect.getsourcelines(obj)
    path = Path(inspect.getsourcefile(obj) or "").resolve()
    # By package and not by checkout: a virtual environment usually lies inside the checkout.
    place = (
        path.relative_to(_PACKAGE.parent).as_posix() if path.is_relative_to(_PACKAGE) else path.name
    )
    name = getattr(obj, "__qualname__", getattr(obj, "__name__", ""))
    source = textwrap.dedent("".join(lines)).rstrip()
    # Markdown and not HTML: the page that shows it colours it in its own theme, and no
    # highlighter version changes it.
    display(Markdown(f"`{name}` in `{place}:{max(first, 1)}`\n\n~~~~python\n{source}\n~~~~"))


def _with_source(obj: Any) -> Any:
    if isinstance(obj, property):
        obj = obj.fget
    if isinstance(obj, (staticmethod, classmethod)):
        obj = obj.__func__
    if not (inspect.isroutine(obj) or inspect.isclass(obj) or inspect.ismodule(obj)):
        obj = type(obj)
    return inspect.unwrap(obj)


def check(
    answer: Any,
    expected: Any = None,
    *,
    sealed: str = "",
    hint: str | None = None,
    tol: float = 1e-6,
) -> None:
    """Tell the reader whether an exercise's answer is right; never raises, so an unsolved
    chapter still runs.

    Numbers, arrays, tensors and (nested) sequences of numbers may differ by `tol`, relative or
    absolute; text is compared without regard to case and outer blanks; anything else by
    equality. Instead of `expected` a chapter may give what `seal` made of it, so that the call
    does not show the answer. None means 'not tried yet'.
    """
    if answer is None:
        print("not tried yet: set `answer` and run the cell again")
        return
    try:
        fault = _unsealed(answer, sealed) if sealed else _difference(answer, expected, tol)
    except Exception as error:
        fault = f"the answer could not be compared ({type(error).__name__}: {error})"
    _say(fault, hint)


def _say(fault: str | None, hint: str | None) -> None:
    print("right" if fault is None else f"not yet: {fault}" + (f"\nhint: {hint}" if hint else ""))


def seal(answer: Any, digits: int = 3) -> str:
    """A fingerprint of an answer for `check(sealed=...)`: numbers count to so many significant
    digits, and as 0 where they are below a ten-thousandth of the largest.

    >>> seal([0.5, 2]) == seal([0.50001, 2.0])
    True
    """
    if isinstance(answer, str):
        text = answer.strip().casefold()
    else:
        values = _array(answer).flatten()
        small = 1e-4 * np.abs(values).max(initial=0.0)
        text = " ".join(f"{0.0 if abs(v) < small else v:.{digits}g}" for v in values)
    return f"{digits}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _unsealed(answer: Any, sealed: str) -> str | None:
    digits = int(sealed.partition(":")[0])
    if seal(answer, digits) == sealed:
        return None

    precision = "" if isinstance(answer, str) else f"; {digits} significant digits count"
    return f"another answer is asked for{precision}"


def check_code(
    mine: Callable[..., Any] | None,
    reference: Callable[..., Any],
    *cases: tuple[Any, ...],
    hint: str | None = None,
    tol: float = 1e-5,
) -> None:
    """Tell the reader whether a function of theirs agrees with a proven one on every case, a
    tuple of arguments; never raises. None means 'not tried yet'.
    """
    if mine is None:
        print("not tried yet: write the function and run the cell again")
        return

    fault = None
    for number, case in enumerate(cases, start=1):
        try:
            fault = _difference(mine(*case), reference(*case), tol)
        except Exception as error:
            fault = f"it raised {type(error).__name__}: {error}"
        if fault:
            fault = f"case {number} of {len(cases)}: {fault}"
            break
    _say(fault, hint)


def _difference(answer: Any, expected: Any, tol: float) -> str | None:
    """What separates the two in words, without giving the expected value away; None when they
    agree.
    """
    if isinstance(expected, str):
        return (
            None
            if str(answer).strip().lower() == expected.strip().lower()
            else "another word is asked for"
        )
    if isinstance(expected, (bool, set, dict)):
        return None if answer == expected else "the answer differs from what is expected"

    mine, theirs = _array(answer), _array(expected)
    if mine.shape != theirs.shape:
        return f"the answer has shape {mine.shape}, expected is {theirs.shape}"
    if np.allclose(mine, theirs, rtol=tol, atol=tol):
        return None
    if mine.ndim == 0:
        return "too large" if mine > theirs else "too small" if mine < theirs else "not a number"

    wrong = int((~np.isclose(mine, theirs, rtol=tol, atol=tol)).sum())
    return f"{wrong} of {mine.size} entries differ"


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a tensor, known without importing torch
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=float)


def hint(text: str) -> None:
    """A hint (HTML allowed) the reader unfolds when wanted."""
    display(HTML(f"<details><summary>Hint</summary>{text}</details>"))


def scratch_folder() -> Path:
    """An empty folder that goes when the kernel ends."""
    _SCRATCH.append(tempfile.TemporaryDirectory(prefix="m2v-chapter-"))
    return Path(_SCRATCH[-1].name)


def shapes(**tensors: Any) -> None:
    """Show a table of names, shapes and element types of tensors, arrays or modules' outputs."""
    rows = []
    for name, value in tensors.items():
        shape = " × ".join(str(n) for n in value.shape) or "scalar"
        rows.append(f"| `{name}` | {shape} | {str(value.dtype).removeprefix('torch.')} |")
    display(Markdown("\n".join(["| name | shape | type |", "|---|---|---|", *rows])))
