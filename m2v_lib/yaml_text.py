"""YAML, by libyaml where it is there: from anybody within limits, and the package's own."""

from __future__ import annotations

from typing import Any, Final

import yaml

from m2v_lib.errors import InputError

#: characters; the package's own largest file has a tenth
MAX_CHARACTERS: Final = 1 << 20
#: tables and lists within one another; settings need 2, skeletons 4
MAX_DEPTH: Final = 20

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str) -> Any:
    """The values of a text: tables, lists, text, numbers. Raises InputError with the reason, which
    for a text too long, nested too deeply, or that refers back to a part of itself is found before
    anything is built.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"must have at most {MAX_CHARACTERS} characters, got {len(text)}")
    try:
        _check(text)
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise InputError(" ".join(str(error).split())[:200]) from error
    except (ValueError, TypeError, RecursionError) as error:  # a date that is none, a huge number
        if isinstance(error, InputError):
            raise
        raise InputError(f"holds a value that cannot be read ({str(error)[:80]})") from error


def own_yaml(text: str) -> Any:
    """The values of one of the package's files, which may refer back to a part of itself."""
    return yaml.load(text, Loader=_LOADER)


def _check(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"must not refer back to &{str(event.anchor)[:40]}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise InputError(f"must be nested at most {MAX_DEPTH} deep")
