"""Where `conf/aiq.yml` says that the Delta tables are."""

from __future__ import annotations

import pytest

from aiq.errors import ConfigError


@pytest.fixture
def settings(load, endpoint_yaml):
    return lambda text: load("aiq.yml", text, "endpoints/chat.yml", endpoint_yaml).settings


def test_tables_in_an_object_store(settings, monkeypatch):
    monkeypatch.setenv("AIQ_SECRET_S3_KEY", "hunter2")
    loaded = settings(
        "tables: s3://lake/aiq/\nstorage_options:\n  AWS_REGION: eu-central-1\n  aws_conditional_put: etag\n"
        "  AWS_S3_ALLOW_UNSAFE_RENAME: false\n  AWS_SECRET_ACCESS_KEY: '{{secrets/s3/key}}'\n"
    )
    assert loaded.tables == "s3://lake/aiq"
    options = loaded.storage_options
    assert options["AWS_SECRET_ACCESS_KEY"].reveal() == "hunter2" and "hunter2" not in repr(loaded)
    assert (options["AWS_REGION"], options["AWS_S3_ALLOW_UNSAFE_RENAME"]) == ("eu-central-1", "false")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tables: lake", "an absolute folder, or a URI"),
        ("tables: '://x'", "an absolute folder, or a URI"),
        ("storage_options: {AWS_SECRET_ACCESS_KEY: hunter2}", "secret reference"),
        ("storage_options: {azure_storage_account_key: hunter2}", "secret reference"),
    ],
)
def test_what_is_wrong_is_told_without_the_secret(settings, text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        settings(text + "\n")
    assert "hunter2" not in str(caught.value)
