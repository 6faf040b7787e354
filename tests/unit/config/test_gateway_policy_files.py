"""`ai_gateway`: limits, guardrails, switches and the payload table."""

from __future__ import annotations

import pytest

from aiq.config.endpoint import RateLimit
from aiq.errors import ConfigError, UnsupportedConfigError

CHAT = "endpoints/chat.yml"


@pytest.fixture
def gateway(load, endpoint_yaml):
    """Loads the endpoint with the given lines under `ai_gateway`, which is line 11."""

    def load_gateway(*lines: str):
        text = endpoint_yaml + "ai_gateway:\n" + "".join(f"  {line}\n" for line in lines)
        return load(CHAT, text).endpoints["chat"]

    return load_gateway


def test_rate_limits_load(gateway):
    endpoint = gateway(
        "rate_limits:",
        "  - {calls: 100, renewal_period: minute}",
        "  - {calls: 10, key: user, renewal_period: minute}",
        "  - {calls: 0, key: user, principal: eve@x.org, renewal_period: minute}",
    )
    assert endpoint.rate_limits == (
        RateLimit(100),
        RateLimit(10, "user"),
        RateLimit(0, "user", "eve@x.org"),
    )


def test_the_older_rate_limits_load(load, endpoint_yaml):
    text = endpoint_yaml + "rate_limits: [{calls: 7, key: user, renewal_period: minute}]\n"
    assert load(CHAT, text).endpoints["chat"].rate_limits == (RateLimit(7, "user"),)


def test_rate_limits_in_both_places_are_an_error(load, endpoint_yaml):
    entry = "rate_limits: [{calls: 7, renewal_period: minute}]\n"
    with pytest.raises(ConfigError, match="once"):
        load(CHAT, endpoint_yaml + entry + "ai_gateway:\n  " + entry)


def test_switches_load(gateway):
    endpoint = gateway("fallback_config: {enabled: true}", "usage_tracking_config: {enabled: true}")
    assert (endpoint.fallback, endpoint.track_usage) == (True, True)


def test_the_payload_table_is_named_after_the_endpoint(gateway):
    table = gateway("inference_table_config: {enabled: true, catalog_name: main, schema_name: aiq}")
    assert table.inference_table == "main.aiq.chat_payload"


def test_the_payload_table_takes_a_prefix(gateway):
    endpoint = gateway(
        "inference_table_config: {enabled: true, catalog_name: m, schema_name: s, table_name_prefix: p-1}"
    )
    assert endpoint.inference_table == "m.s.p-1_payload"


def test_a_payload_table_that_is_off_is_none(gateway):
    assert gateway("inference_table_config: {enabled: false, catalog_name: main}").inference_table is None


@pytest.mark.parametrize(
    "guardrails",
    [
        "{}",
        "null",
        "{input: {}, output: {}}",
        "{input: {pii: {behavior: NONE}, safety: false, invalid_keywords: [], valid_topics: []}}",
        "{output: {pii: null, safety: null}}",
    ],
)
def test_guardrails_that_are_off_load(gateway, guardrails):
    assert gateway(f"guardrails: {guardrails}").name == "chat"


@pytest.mark.parametrize(
    ("guardrails", "field"),
    [
        ("{input: {pii: {behavior: MASK}}}", "input.pii.behavior"),
        ("{input: {pii: {behavior: BLOCK}}}", "input.pii.behavior"),
        ("{output: {safety: true}}", "output.safety"),
        ("{input: {invalid_keywords: [x]}}", "input.invalid_keywords"),
        ("{input: {valid_topics: [x]}}", "input.valid_topics"),
    ],
)
def test_guardrails_that_are_on_are_refused(gateway, guardrails, field):
    with pytest.raises(UnsupportedConfigError) as caught:
        gateway(f"guardrails: {guardrails}")
    assert (caught.value.line, caught.value.field) == (12, f"ai_gateway.guardrails.{field}")


def limit(entry: str) -> str:
    return f"rate_limits: [{{{entry}}}]"


LIMIT = "ai_gateway.rate_limits[0]"
TABLE = "ai_gateway.inference_table_config"


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        ("fallback: {enabled: true}", "ai_gateway.fallback", "Did you mean 'fallback_config'"),
        ("fallback_config: {enabled: 1}", "ai_gateway.fallback_config.enabled", "true or false"),
        (limit("calls: 1"), f"{LIMIT}.renewal_period", "is required"),
        (limit("calls: 1, renewal_period: hour"), f"{LIMIT}.renewal_period", '"minute"'),
        (limit("renewal_period: minute"), f"{LIMIT}.calls", "is required"),
        (limit("calls: -1, renewal_period: minute"), f"{LIMIT}.calls", "from 0"),
        (limit("calls: 1.5, renewal_period: minute"), f"{LIMIT}.calls", "whole number"),
        (limit("calls: 1, tokens: 1, renewal_period: minute"), f"{LIMIT}.tokens", "exactly one"),
        (limit("calls: 1, key: users, renewal_period: minute"), f"{LIMIT}.key", "Did you mean 'user'"),
        (limit("calls: 1, principal: a, renewal_period: minute"), f"{LIMIT}.principal", "key user"),
        ("guardrails: {inputs: {}}", "ai_gateway.guardrails.inputs", "Did you mean 'input'"),
        ("inference_table_config: {enabled: true, schema_name: s}", f"{TABLE}.catalog_name", "is required"),
        (
            "inference_table_config: {enabled: true, catalog_name: a.b, schema_name: s}",
            f"{TABLE}.catalog_name",
            "letters, digits",
        ),
        (
            "inference_table_config: {enabled: true, catalog_name: ../x, schema_name: s}",
            f"{TABLE}.catalog_name",
            "letters, digits",
        ),
    ],
)
def test_a_wrong_gateway_names_line_and_field(gateway, line, field, words):
    with pytest.raises(ConfigError) as caught:
        gateway(line)
    assert (caught.value.line, caught.value.field) == (12, field)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ("tokens: 5, renewal_period: minute", "tokens"),
        ("calls: 5, key: user_group, principal: g, renewal_period: minute", "key"),
        ("calls: 5, key: service_principal, principal: g, renewal_period: minute", "key"),
    ],
)
def test_limits_that_cannot_be_held_are_refused(gateway, entry, field):
    with pytest.raises(UnsupportedConfigError) as caught:
        gateway(limit(entry))
    assert caught.value.field == f"{LIMIT}.{field}"


def test_two_limits_for_the_same_caller_contradict(gateway):
    entry = "  - {calls: 5, key: user, principal: a@x.org, renewal_period: minute}"
    with pytest.raises(ConfigError, match=r"user a@x\.org, the first in line 13") as caught:
        gateway("rate_limits:", entry, entry)
    assert caught.value.line == 14


def test_more_than_twenty_limits_are_too_many(gateway):
    entries = [f"  - {{calls: 5, key: user, principal: u{i}, renewal_period: minute}}" for i in range(21)]
    with pytest.raises(ConfigError, match="at most 20"):
        gateway("rate_limits:", *entries)
