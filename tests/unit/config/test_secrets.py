"""Secrets: where they are found, and that nothing shows them."""

from __future__ import annotations

import copy
import json
import os
import pickle
import threading
import traceback
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aiq.config.connections import Secret
from aiq.config.describe import describe_endpoint
from aiq.config.load import load_config
from aiq.config.secrets import PLAINTEXT, SecretStore, environment_variable
from aiq.errors import ConfigError, SecretError
from tests.processes import PATIENCE_S

VARIABLE = "AIQ_SECRET_OPENAI_API_KEY"


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch):
    """Tests never read this machine's keyring."""
    keyring = pytest.importorskip("keyring")
    from keyring.backends.fail import Keyring

    previous = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    yield
    keyring.set_keyring(previous)


@pytest.fixture
def store_file(tmp_path):
    def write(value: bytes, mode: int = 0o600):
        path = tmp_path / "secrets" / "openai" / "api_key"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)
        path.chmod(mode)
        return path

    return write


def reveal(tmp_path, environ: dict[str, str] | None = None) -> str:
    return SecretStore(tmp_path, environ or {}).reference("openai", "api_key").reveal()


def test_the_environment_comes_first(tmp_path, store_file):
    store_file(b"from file")
    assert reveal(tmp_path, {VARIABLE: "from environment"}) == "from environment"


@pytest.mark.parametrize(("scope", "key"), [("openai_api", "key"), ("openai", "API_KEY"), ("openai", "api-key")])
def test_two_references_never_share_a_variable(tmp_path, store_file, scope, key):
    store_file(b"from file")
    environ = {VARIABLE: "one of them"}
    store = SecretStore(tmp_path, environ)
    first, second = store.reference("openai", "api_key"), store.reference(scope, key)
    for secret in (first, second):
        with pytest.raises(SecretError, match=rf"{scope}/{key}.*would all be read from {VARIABLE}") as caught:
            secret.reveal()
        assert "one of them" not in str(caught.value)
    del environ[VARIABLE]
    assert first.reveal() == "from file"


def test_one_reference_twice_is_one(tmp_path):
    store = SecretStore(tmp_path, {VARIABLE: "value"})
    assert {store.reference("openai", "api_key").reveal() for _ in range(2)} == {"value"}


@pytest.mark.parametrize("place", ["secrets", "secrets/openai"])
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path, store_file, place, mode):
    store_file(b"from file")
    (tmp_path / place).chmod(mode)
    with pytest.raises(SecretError, match=rf"{place} can be written by others: .*chmod 700") as caught:
        reveal(tmp_path)
    assert "from file" not in str(caught.value)


@pytest.mark.parametrize("place", ["secrets", "secrets/openai"])
def test_a_folder_that_is_a_link_is_refused(tmp_path, store_file, place):
    store_file(b"from file")
    (tmp_path / place).rename(tmp_path / "elsewhere")
    (tmp_path / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SecretError, match=rf"{place} must be a folder, not a link"):
        reveal(tmp_path)


def test_the_file_of_the_home_folder_comes_second(tmp_path, store_file):
    store_file(b"from file\n")
    assert reveal(tmp_path) == "from file"


def test_the_keyring_comes_last(tmp_path):
    import keyring
    from keyring.backends.null import Keyring

    class Memory(Keyring):
        priority = 1

        def get_password(self, service, username):
            return {("aiq/openai", "api_key"): "from keyring"}.get((service, username))

    keyring.set_keyring(Memory())
    assert reveal(tmp_path) == "from keyring"


def test_a_keyring_that_waits_for_its_user_is_left(tmp_path):
    import keyring
    from keyring.backends.null import Keyring

    answer = threading.Event()
    asked = []

    class Waiting(Keyring):
        priority = 1

        def get_password(self, service, username):
            asked.append(username)
            answer.wait(PATIENCE_S)

    keyring.set_keyring(Waiting())
    store = SecretStore(tmp_path, {}, keyring_timeout_s=0.01)
    try:
        for _ in range(2):
            with pytest.raises(SecretError, match="did not answer"):
                store.reference("openai", "api_key").reveal()
    finally:
        answer.set()
    assert len(asked) <= 1


def test_a_missing_secret_says_all_three_places(tmp_path):
    with pytest.raises(SecretError) as caught:
        reveal(tmp_path)
    message = str(caught.value)
    assert VARIABLE in message
    assert str(tmp_path / "secrets" / "openai" / "api_key") in message
    assert "keyring set aiq/openai api_key" in message


def test_a_missing_secret_says_where_it_is_referred_to(load, endpoint_yaml, conf, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    endpoint = load("endpoints/chat.yml", endpoint_yaml).endpoints["chat"]
    with pytest.raises(SecretError) as caught:
        endpoint.entities[0].config.api_key.reveal()
    assert (caught.value.file, caught.value.line) == (str(conf / "endpoints/chat.yml"), 10)


def test_a_secret_is_looked_up_when_it_is_first_needed(load, endpoint_yaml, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    endpoint = load("endpoints/chat.yml", endpoint_yaml).endpoints["chat"]
    monkeypatch.setenv(VARIABLE, "later")
    assert endpoint.entities[0].config.api_key.reveal() == "later"


@pytest.mark.parametrize(
    ("scope", "key", "variable"),
    [("openai", "api_key", VARIABLE), ("my-scope.x", "K@1", "AIQ_SECRET_MY_SCOPE_X_K_1")],
)
def test_the_variable_is_upper_case_with_underscores(scope, key, variable):
    assert environment_variable(scope, key) == variable


@pytest.mark.skipif(os.name != "posix", reason="file modes")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_not_used(tmp_path, store_file, mode):
    path = store_file(b"hunter2", mode)
    with pytest.raises(SecretError, match=f"chmod 600 {path}") as caught:
        reveal(tmp_path)
    assert "hunter2" not in str(caught.value)


def test_a_link_is_not_used(tmp_path, store_file):
    path = store_file(b"x")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SecretError, match="not a link"):
        reveal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_not_waited_for(tmp_path, store_file):
    path = store_file(b"x")
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(SecretError, match="regular file"):
        reveal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to give a file away")
def test_a_file_of_another_user_is_not_used(tmp_path, store_file):
    os.chown(store_file(b"x"), 65534, -1)
    with pytest.raises(SecretError, match="belongs to another user"):
        reveal(tmp_path)


@pytest.mark.parametrize("value", ["", "hunter2\nX-Admin: 1", "hunter2\r", "hunter2\x00", "hunter2\x7f", "hunter2é"])
def test_a_value_that_no_header_may_carry_is_refused_and_not_shown(tmp_path, value):
    with pytest.raises(SecretError) as caught:
        reveal(tmp_path, {VARIABLE: value})
    assert "hunter2" not in str(caught.value)


def test_a_plain_secret_with_a_line_end_is_refused_when_it_is_read(load, endpoint_yaml):
    text = endpoint_yaml.replace('openai_api_key: "{{secrets/openai/api_key}}"', 'openai_api_key_plaintext: "a\\nb"')
    with pytest.raises(SecretError) as caught:
        load("endpoints/chat.yml", text)
    assert caught.value.line == 10


def test_a_reference_in_a_plaintext_field_is_an_error(load, endpoint_yaml):
    text = endpoint_yaml.replace("openai_api_key:", "openai_api_key_plaintext:")
    with pytest.raises(ConfigError, match="goes into the field openai_api_key"):
        load("endpoints/chat.yml", text)


printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)


def body(field: str, value: str) -> str:
    entity = {
        "name": "a",
        "external_model": {
            "name": "m",
            "provider": "openai",
            "task": "llm/v1/chat",
            "openai_config": {field: value},
        },
    }
    return json.dumps({"name": "chat", "config": {"served_entities": [entity]}})


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__dict__)


@given(secret=printable)
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_a_plain_secret_is_shown_by_nothing(tmp_path, secret):
    secret = f"~{secret}~"
    (tmp_path / "endpoints").mkdir(exist_ok=True)
    (tmp_path / "endpoints" / "chat.json").write_text(body("openai_api_key_plaintext", secret))
    config = load_config(tmp_path, tmp_path)
    endpoint = config.endpoints["chat"]
    key = endpoint.entities[0].config.api_key
    assert key.reveal() == secret
    texts = [repr(config), str(config), f"{key}", repr(key), key.source, json.dumps(describe_endpoint(endpoint))]
    for dump in (pickle.dumps, copy.deepcopy, asdict):
        with pytest.raises(TypeError) as caught:
            dump(endpoint)
        texts.append(shown(caught.value))
    assert not [text for text in texts if secret in text]


@given(secret=printable, kind=st.sampled_from(["openai_api_key", "openai_organisation", "bad yaml", "twice"]))
@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_a_secret_in_a_wrong_file_is_shown_by_no_error(tmp_path, secret, kind):
    secret = f"~{secret}~"
    text = body(kind if kind.startswith("openai") else "openai_api_key_plaintext", secret)
    if kind == "bad yaml":
        text = text[:-3]
    if kind == "twice":
        text = text.replace('"name": "chat"', '"name": "chat", "name": "chat"', 1)
    (tmp_path / "endpoints").mkdir(exist_ok=True)
    (tmp_path / "endpoints" / "chat.json").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, tmp_path)
    assert secret not in shown(caught.value)


@pytest.mark.parametrize(
    "secret", ["*hunter2", "!hunter2", "&hunter2 *x", "%hunter2", "'hunter2", "`hunter2", "{hunter2"]
)
def test_a_secret_that_needed_quotes_is_not_shown_by_the_parser(load, endpoint_yaml, secret):
    text = endpoint_yaml.replace('openai_api_key: "{{secrets/openai/api_key}}"', f"openai_api_key_plaintext: {secret}")
    with pytest.raises(ConfigError) as caught:
        load("endpoints/chat.yml", text)
    assert "hunter2" not in shown(caught.value)


def test_secrets_are_equal_by_value(tmp_path, store_file):
    store_file(b"one")
    before = SecretStore(tmp_path, {}).reference("openai", "api_key")
    assert before.reveal() == "one" and before == SecretStore(tmp_path, {}).reference("openai", "api_key")
    store_file(b"two")
    assert before != SecretStore(tmp_path, {}).reference("openai", "api_key")
    assert Secret("one", PLAINTEXT) == Secret(lambda: "one", PLAINTEXT) != Secret("two", PLAINTEXT)


def test_a_secret_that_cannot_be_found_equals_no_other(tmp_path):
    missing, same = (SecretStore(tmp_path, {}).reference("openai", "api_key") for _ in range(2))
    assert missing == missing
    assert missing != same
