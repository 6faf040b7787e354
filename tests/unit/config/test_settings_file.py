"""`conf/aiq.yml`."""

from __future__ import annotations

import pytest

from aiq.config.endpoint import EndpointSettings, Price, Settings
from aiq.errors import ConfigError


@pytest.fixture
def settings(load, endpoint_yaml):
    return lambda text: load("aiq.yml", text, "endpoints/chat.yml", endpoint_yaml).settings


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n"])
def test_an_empty_file_gives_the_defaults(settings, text):
    assert settings(text) == Settings()


def test_every_setting_loads(settings, tmp_path):
    (tmp_path / "ca.pem").write_text("x")
    loaded = settings(f"""\
concurrency: 2000
transport: httpx
connect_timeout_s: 1
read_timeout_s: 2.5
timeout_s: 3
max_response_bytes: 4096
proxy: http://ada:pw@proxy:3128
ca_file: {tmp_path / "ca.pem"}
fetch_images: true
retries: 0
retries_before_fallback: 5
embedding_batch_rows: 7
account_id: "01"
workspace_id: 02
user: ada@x.org
groups: [a, b]
error_field: response
progress: false
prices:
  gpt-4.1: {{input_per_mtok: 1, output_per_mtok: 2.5, cached_input_per_mtok: 0.5}}
  long: {{input_per_mtok: 1, output_per_mtok: 4, cache_write_per_mtok: 2, tiers: [
    {{above_input_tokens: 9, input_per_mtok: 3, output_per_mtok: 5}},
    {{above_input_tokens: 5, input_per_mtok: 2, output_per_mtok: 4}}]}}
endpoints:
  chat: {{concurrency: 1024, timeout_s: 9, embedding_batch_rows: 3}}
""")
    assert loaded == Settings(
        concurrency=2000,
        transport="httpx",
        connect_timeout_s=1.0,
        read_timeout_s=2.5,
        timeout_s=3.0,
        max_response_bytes=4096,
        proxy="http://ada:pw@proxy:3128",
        ca_file=str(tmp_path / "ca.pem"),
        fetch_images=True,
        retries=0,
        retries_before_fallback=5,
        embedding_batch_rows=7,
        account_id="01",
        workspace_id="02",
        user="ada@x.org",
        groups=("a", "b"),
        error_field="response",
        progress=False,
        prices={
            "gpt-4.1": Price(1.0, 2.5, 0.5),
            "long": Price(
                1.0,
                4.0,
                cache_write_per_mtok=2.0,
                tiers=(Price(2.0, 4.0, above_input_tokens=5), Price(3.0, 5.0, above_input_tokens=9)),
            ),
        },
        endpoints={"chat": EndpointSettings(1024, 9.0, 3)},
    )


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("concurency: 1", 1, "concurency", "Did you mean 'concurrency'"),
        ("concurrency: 0", 1, "concurrency", "from 1"),
        ("concurrency: -3", 1, "concurrency", "from 1"),
        ("concurrency: true", 1, "concurrency", "true or false"),
        ("timeout_s: .nan", 1, "timeout_s", "above 0, not nan"),
        ("timeout_s: .inf", 1, "timeout_s", "above 0, not inf"),
        (f"timeout_s: 1{'0' * 400}", 1, "timeout_s", "not inf"),
        ("timeout_s: -1", 1, "timeout_s", "above 0"),
        ("timeout_s: 0", 1, "timeout_s", "above 0"),
        ("timeout_s: ten", 1, "timeout_s", "a number of seconds, not text"),
        ("transport: htpx", 1, "transport", "Did you mean 'httpx'"),
        ("error_field: x", 1, "error_field", "result, response"),
        ("\nca_file: none.pem", 2, "ca_file", "there is no file"),
        ("groups: a", 1, "groups", "expected a list"),
        ("prices:\n  m: {input_per_mtok: -1, output_per_mtok: 1}", 2, "prices.m.input_per_mtok", "at least 0"),
        ("prices:\n  m: {input_per_mtok: 1}", 2, "prices.m.output_per_mtok", "is required"),
        (
            "prices:\n  m: {input_per_mtok: 1, output_per_mtok: 1, tiers: [{input_per_mtok: 1, output_per_mtok: 1}]}",
            2,
            "prices.m.tiers[0].above_input_tokens",
            "is required",
        ),
        ("endpoints:\n  chta: {timeout_s: 1}", 2, "endpoints.chta", "Did you mean 'chat'"),
        ("endpoints:\n  chat:\n    concurrency: 0", 3, "endpoints.chat.concurrency", "from 1"),
        (
            "endpoints:\n  chat:\n    model_server: {token_plaintext: x}",
            3,
            "endpoints.chat.model_server.url",
            "required",
        ),
        ("- a", 1, None, "expected a mapping"),
    ],
)
def test_a_wrong_setting_names_line_and_field(settings, conf, text, line, field, words):
    with pytest.raises(ConfigError) as caught:
        settings(text + "\n")
    assert (caught.value.file, caught.value.line, caught.value.field) == (str(conf / "aiq.yml"), line, field)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "proxy", ["socks5://u:hunter2@h:1", "http://u:hunter2@", "u:hunter2@h", "http://u:hunter2@h:x"]
)
def test_a_wrong_proxy_is_not_shown(settings, proxy):
    with pytest.raises(ConfigError) as caught:
        settings(f"proxy: {proxy}\n")
    assert "hunter2" not in str(caught.value)


def test_the_password_of_a_proxy_is_not_shown_by_repr(settings):
    loaded = settings("proxy: http://ada:hunter2@proxy:3128\n")
    assert "hunter2" not in repr(loaded)
    assert "http://ada:***@proxy:3128" in repr(loaded)
    assert loaded.proxy == "http://ada:hunter2@proxy:3128"


def test_a_relative_certificate_file_is_found_next_to_the_settings(settings, conf):
    conf.mkdir()
    (conf / "ca.pem").write_text("x")
    assert settings("ca_file: ca.pem\n").ca_file == str(conf / "ca.pem")


def test_a_settings_file_of_another_name_is_not_ignored(load):
    with pytest.raises(ConfigError, match=r"called aiq\.yml"):
        load("aiq.yaml", "concurrency: 1\n")
