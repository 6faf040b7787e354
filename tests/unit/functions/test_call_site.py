"""The keys of a call site: two requests have the same one only where they are the same request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import pytest

from aiq.config.load import load_config
from aiq.functions.call_site import CallSite, Options

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

MESSAGES = {"messages": [{"role": "user", "content": "Hi."}]}


@pytest.fixture
def site(conf: ConfFolder, home: Path) -> CallSite:
    return CallSite(load_config(conf.path, home).endpoints["chat"], Options())


def key_of_struct(site: CallSite) -> bytes:
    _, (ask,) = site._distinct(pa.array([MESSAGES]), site._bodies(pa.array([MESSAGES])))
    return ask.key


@pytest.mark.parametrize("prefix", ["", "\x00json", "body", "text", "\x00", "files"])
def test_no_text_has_the_key_of_a_struct(site: CallSite, prefix: str) -> None:
    words = prefix + orjson.dumps(MESSAGES, option=orjson.OPT_SORT_KEYS).decode()
    (ask,) = site._asks([words])
    assert ask.key != key_of_struct(site)


def test_no_text_has_the_key_of_a_request_with_files(site: CallSite) -> None:
    column = pa.array(["Hi."])
    _, (with_none,) = site._distinct(column, site._with_files(column, pa.array([None], pa.binary())))
    assert with_none.key != site._asks(["Hi."])[0].key


def test_equal_structs_have_the_same_key_whatever_the_order_of_their_fields(site: CallSite) -> None:
    other = {"messages": [{"content": "Hi.", "role": "user"}]}
    _, (ask,) = site._distinct(pa.array([other]), site._bodies(pa.array([other])))
    assert ask.key == key_of_struct(site)


def test_equal_texts_have_the_same_key(conf: ConfFolder, home: Path, site: CallSite) -> None:
    again = CallSite(load_config(conf.path, home).endpoints["chat"], Options())
    assert site._asks(["Hi."])[0].key == again._asks(["Hi."])[0].key
