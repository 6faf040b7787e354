"""Files that are no YAML, too large, too deep, or made to grow."""

from __future__ import annotations

import os

import pytest

from aiq.config.document import MAX_FILE_BYTES, read_documents
from aiq.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    def write_and_read(content: str | bytes):
        path = tmp_path / "file.yml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_documents(str(path))

    return write_and_read


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not valid YAML"),
        ("a: 1\na: 2\n", 2, "given twice, first in line 1"),
        ("a:\n  b: 1\n  c: {d: 1, d: 2}\n", 3, "given twice"),
        ("a: 1\nb: *nowhere\n", 2, "not valid YAML"),
        ("a: 1\nb: !thing x\n", 2, "YAML tags"),
        ("a: !!python/object/apply:os.system [x]\n", 1, "YAML tags"),
        ("? [a]\n: b\n", 1, "a key must be text"),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
        ("a: &a [*a]\n", 1, "levels deep"),
        ("a: \x00\n", None, "control character"),
        ("[" * 900 + "]" * 900, 1, "levels deep"),
        ("a: 1_0:99:99_\nb: 0x\nc: !!int z\n", 3, "as a number"),
    ],
)
def test_a_broken_file_names_its_line(read, content, line, words):
    with pytest.raises(ConfigError) as caught:
        read(content)
    assert caught.value.line == line
    assert words in str(caught.value)


def test_very_deep_nesting_is_an_error_and_no_crash(read):
    with pytest.raises(ConfigError):
        read("[" * 200_000)


def test_aliases_that_multiply_are_stopped(read):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError, match="more than 100000 values"):
        read("\n".join(lines))


def test_merge_keys_that_multiply_are_stopped(read):
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)]
    with pytest.raises(ConfigError):
        read("\n".join(lines))


def test_a_large_mapping_that_is_merged_often_is_stopped(read):
    large = ", ".join(f"k{i}: 1" for i in range(2000))
    with pytest.raises(ConfigError, match="more than 100000 values"):
        read(f"a: &a {{{large}}}\nb: {{<<: [{', '.join(['*a'] * 2000)}]}}\n")


def test_a_mapping_that_merges_itself_is_an_error(read):
    with pytest.raises(ConfigError):
        read("a: &a {<<: *a, b: 1}\n")


def test_a_file_over_one_mebibyte_is_an_error(read):
    with pytest.raises(ConfigError, match="1 MiB"):
        read("a" * (MAX_FILE_BYTES + 1))


def test_a_byte_order_mark_is_skipped(read):
    assert read(b"\xef\xbb\xbfa: 1\n")[0].mapping()["a"].value == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_an_error_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yml")
    with pytest.raises(ConfigError, match="regular file"):
        read_documents(str(tmp_path / "pipe.yml"))


def test_a_dangling_link_is_an_error(tmp_path):
    (tmp_path / "link.yml").symlink_to(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_documents(str(tmp_path / "link.yml"))
