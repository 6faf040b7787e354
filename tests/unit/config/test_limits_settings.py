"""Where `conf/aiq.yml` says that rate limits are counted, and how endpoints show them."""

from __future__ import annotations

import pytest

from aiq.config.describe import describe_endpoint
from aiq.errors import ConfigError

LIMITS = """\
ai_gateway:
  rate_limits:
    - {calls: 5, key: user_group, principal: staff, renewal_period: minute}
    - {tokens: 500, key: endpoint, renewal_period: minute}
  aiq:
    rate_limits:
      - {cost_usd: 2.5, key: usage_context, tag: team, renewal_period: day}
      - {concurrency: 8, key: user}
"""


@pytest.fixture
def settings(load, endpoint_yaml):
    return lambda text: load("aiq.yml", text, "endpoints/chat.yml", endpoint_yaml).settings


def test_a_redis_has_a_url_and_a_secret(settings, monkeypatch):
    monkeypatch.setenv("AIQ_SECRET_R_PW", "hunter2")
    loaded = settings(
        "limits_store: redis\nlimits_redis_url: rediss://cache:6380/1\nlimits_redis_password: '{{secrets/r/pw}}'\n"
    )
    assert (loaded.limits_store, loaded.limits_redis_url) == ("redis", "rediss://cache:6380/1")
    assert loaded.limits_redis_password.reveal() == "hunter2"
    assert "hunter2" not in repr(loaded)


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("limits_store: disk", "limits_store", "file, memory, redis"),
        ("limits_store: redis", "limits_redis_url", "is required"),
        ("limits_redis_url: http://cache", "limits_redis_url", "expected a URL"),
        ("limits_redis_url: redis://cache:x", "limits_redis_url", "expected a URL"),
        ("limits_redis_url: redis://:hunter2@cache", "limits_redis_url", "limits_redis_password"),
        ("limits_redis_url: redis://cache?password=hunter2", "limits_redis_url", "limits_redis_password"),
        ("limits_redis_password: hunter2", "limits_redis_password", "secret reference"),
    ],
)
def test_a_wrong_store_names_its_field_and_shows_no_password(settings, text, field, words):
    with pytest.raises(ConfigError, match=words) as caught:
        settings(text + "\n")
    assert caught.value.field == field and "hunter2" not in str(caught.value)


def test_limits_are_described_as_they_were_written(load, endpoint_yaml):
    shape = describe_endpoint(load("endpoints/chat.yml", endpoint_yaml + LIMITS).endpoints["chat"])["ai_gateway"]
    assert shape == {
        "rate_limits": [
            {"calls": 5, "key": "user_group", "principal": "staff", "renewal_period": "minute"},
            {"tokens": 500, "key": "endpoint", "renewal_period": "minute"},
        ],
        "aiq": {
            "rate_limits": [
                {"cost_usd": 2.5, "key": "usage_context", "tag": "team", "renewal_period": "day"},
                {"concurrency": 8, "key": "user"},
            ]
        },
    }
