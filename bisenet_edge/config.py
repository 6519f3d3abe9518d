"""Strict TOML: a misspelt or missing key is an error, never a silent default."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from bisenet_edge.errors import ConfigError, unknown_name

TypeMap = Mapping[str, Any]


def load_toml(path: Path) -> Dict[str, Any]:
    """Parse a TOML file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    # The standard library has it since Python 3.11. (A device never reads TOML: its bundle is JSON.)
    tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("cannot read a configuration file", got=f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML", got=str(error)) from error


def read_toml(path: Path, required: TypeMap, optional: Optional[TypeMap] = None) -> Dict[str, Any]:
    """Read the top level of a TOML file with exactly the given keys.

    Args:
        path: the file.
        required: key -> type (or tuple of types).
        optional: likewise, for keys that may be absent.

    Raises:
        ConfigError: not TOML, a key missing, or a value of another type.
        UsageError: an unknown key, with the nearest one proposed.
    """
    return check_keys(load_toml(path), required, optional or {}, str(path))


def check_keys(value: Dict[str, Any], required: TypeMap, optional: TypeMap, where: str) -> Dict[str, Any]:
    """Check a table's keys and the types of its values; see `read_toml`."""
    known = {**required, **optional}
    for key, item in value.items():
        if key not in known:
            raise unknown_name(f"key in {where}", key, known)
        # bool is an int in Python; "epochs = true" must not pass.
        if not isinstance(item, known[key]) or (isinstance(item, bool) and known[key] is not bool):
            raise ConfigError(
                f"{where}: '{key}' has the wrong type", got=repr(item), expected=_type_name(known[key])
            )
    missing = sorted(set(required) - set(value))
    if missing:
        raise ConfigError(
            f"{where}: a key is missing", got=", ".join(missing), expected=", ".join(sorted(known))
        )
    return value


def _type_name(kind: Any) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(k.__name__ for k in kinds)
