from __future__ import annotations

import pytest

from bisenet_edge.config import load_toml, read_toml
from bisenet_edge.errors import ConfigError, UsageError

REQUIRED = {"epochs": int, "name": str}
OPTIONAL = {"rate": (float, int), "flip": bool}


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "recipe.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_what_is_written_is_what_is_read(toml):
    value = read_toml(toml('epochs = 3\nname = "ä"\nrate = 1\n'), REQUIRED, OPTIONAL)
    assert value == {"epochs": 3, "name": "ä", "rate": 1}


def test_a_misspelt_key_is_refused_with_the_nearest_one(toml):
    with pytest.raises(UsageError, match=r"unknown key in .*recipe\.toml") as caught:
        read_toml(toml('epoch = 3\nname = "a"\n'), REQUIRED, OPTIONAL)
    assert caught.value.fix == "did you mean 'epochs'?"


def test_a_key_like_nothing_known_gets_the_list(toml):
    with pytest.raises(UsageError) as caught:
        read_toml(toml("zzz = 1\n"), REQUIRED, OPTIONAL)
    assert caught.value.fix == "choose one of: epochs, flip, name, rate"


def test_a_missing_key_is_named(toml):
    with pytest.raises(ConfigError, match="a key is missing") as caught:
        read_toml(toml('name = "a"\n'), REQUIRED, OPTIONAL)
    assert caught.value.got == "epochs"


@pytest.mark.parametrize(
    ("line", "key", "expected"),
    [
        ('epochs = "3"', "epochs", "int"),
        ("epochs = 3.0", "epochs", "int"),
        ("epochs = true", "epochs", "int"),  # a bool is an int to Python
        ("epochs = 3\nrate = true", "rate", "float or int"),
        ("epochs = 3\nflip = 1", "flip", "bool"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(toml, line, key, expected):
    with pytest.raises(ConfigError, match=f"'{key}' has the wrong type") as caught:
        read_toml(toml(f'{line}\nname = "a"\n'), REQUIRED, OPTIONAL)
    assert caught.value.expected == expected


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot read") as caught:
            load_toml(path)
        assert str(path) in caught.value.got


@pytest.mark.parametrize("content", [b"epochs = \n", b"a = 1\na = 2\n", b"name = '\xff'\n"])
def test_what_is_not_toml(tmp_path, content):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_toml(path)
