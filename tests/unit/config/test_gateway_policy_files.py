"""`ai_gateway`: limits, guardrails, switches and the payload table."""

from __future__ import annotations

import pytest

from aiq.config.endpoint import RateLimit
from aiq.errors import ConfigError

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
        (limit("calls: 1, renewal_period: hour"), f"{LIMIT}.renewal_period", "ai_gateway.aiq.rate_limits"),
        (limit("calls: 1, key: usage_context, renewal_period: minute"), f"{LIMIT}.key", "not one of"),
        (limit("cost_usd: 1, renewal_period: minute"), f"{LIMIT}.cost_usd", "unknown field"),
        (limit("calls: 1, key: user_group, renewal_period: minute"), f"{LIMIT}.principal", "a group's name"),
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
    ("entry", "loaded"),
    [
        ("tokens: 5, renewal_period: minute", RateLimit(5, unit="tokens")),
        ("calls: 5, key: user_group, principal: g, renewal_period: minute", RateLimit(5, "user_group", "g")),
        (
            "calls: 5, key: service_principal, principal: a-1, renewal_period: minute",
            RateLimit(5, "service_principal", "a-1"),
        ),
        ("tokens: 0, key: user, principal: a@x.org, renewal_period: minute", RateLimit(0, "user", "a@x.org", "tokens")),
    ],
)
def test_every_limit_of_databricks_loads(gateway, entry, loaded):
    assert gateway(limit(entry)).rate_limits == (loaded,)


@pytest.mark.parametrize(
    ("entry", "loaded"),
    [
        ("calls: 5, renewal_period: hour", RateLimit(5, period_s=3600)),
        ("tokens: 5, key: user, renewal_period: day", RateLimit(5, "user", unit="tokens", period_s=86400)),
        ("input_tokens: 5, renewal_period: minute", RateLimit(5, unit="input_tokens")),
        ("output_tokens: 5, renewal_period: minute", RateLimit(5, unit="output_tokens")),
        ("concurrency: 5, key: user", RateLimit(5, "user", unit="concurrency", period_s=0)),
        ("cost_usd: 0.5, renewal_period: day", RateLimit(0.5, unit="cost_usd", period_s=86400)),
        (
            "calls: 5, key: usage_context, tag: team, renewal_period: minute",
            RateLimit(5, "usage_context", tag="team"),
        ),
    ],
)
def test_our_own_limits_load_from_their_namespace(gateway, entry, loaded):
    endpoint = gateway(f"aiq: {{{limit(entry)}}}")
    assert (endpoint.rate_limits, endpoint.aiq_rate_limits) == ((), (loaded,))


@pytest.mark.parametrize(
    ("entry", "field", "words"),
    [
        ("calls: 5, renewal_period: week", "renewal_period", "minute, hour, day"),
        ("calls: 5", "renewal_period", "is required"),
        ("concurrency: 0", "concurrency", "from 1"),
        ("concurrency: 5, renewal_period: minute", "renewal_period", "leave it out"),
        ("cost_usd: -1, renewal_period: day", "cost_usd", "at least 0"),
        ("cost_usd: 10000000, renewal_period: day", "cost_usd", "at most 1000000"),
        ("cost_usd: 1, calls: 1, renewal_period: day", "cost_usd", "exactly one"),
        ("calls: 5, key: usage_context, renewal_period: day", "tag", "is required"),
        ("calls: 5, key: user, tag: team, renewal_period: day", "tag", "usage_context"),
        (
            "calls: 5, key: usage_context, tag: t, principal: x, renewal_period: day",
            "principal",
            "not to usage_context",
        ),
        ("calls: 5, key: user_group, renewal_period: day", "principal", "a group's name"),
        ("usd: 5, renewal_period: day", "usd", "unknown field"),
    ],
)
def test_a_wrong_limit_of_our_own_names_line_and_field(gateway, entry, field, words):
    with pytest.raises(ConfigError, match=words) as caught:
        gateway(f"aiq: {{{limit(entry)}}}")
    assert (caught.value.line, caught.value.field) == (12, f"ai_gateway.aiq.rate_limits[0].{field}")


@pytest.mark.parametrize("key", ["user", "service_principal"])
def test_a_service_principal_and_a_user_of_one_name_contradict(gateway, key):
    entry = "  - {calls: 5, key: %s, principal: a, renewal_period: minute}"
    with pytest.raises(ConfigError, match="keep one"):
        gateway("rate_limits:", entry % "user", entry % key)


def test_limits_of_different_units_for_one_caller_do_not_contradict(gateway):
    entries = [f"  - {{{unit}: 5, key: user, renewal_period: minute}}" for unit in ("calls", "tokens")]
    assert len(gateway("rate_limits:", *entries).rate_limits) == 2


def test_a_user_may_have_more_than_the_endpoint_and_less_than_the_default(gateway):
    entries = [
        "  - {calls: 10, renewal_period: minute}",
        "  - {calls: 5, key: user, renewal_period: minute}",
        "  - {calls: 50, key: user, principal: a, renewal_period: minute}",
        "  - {calls: 1, key: user, principal: b, renewal_period: minute}",
    ]
    assert len(gateway("rate_limits:", *entries).rate_limits) == 4


def test_more_than_five_limits_of_groups_are_too_many(gateway):
    entries = [f"  - {{calls: 5, key: user_group, principal: g{i}, renewal_period: minute}}" for i in range(6)]
    with pytest.raises(ConfigError, match="at most 5 limits of groups"):
        gateway("rate_limits:", *entries)


def test_two_limits_for_the_same_caller_contradict(gateway):
    entry = "  - {calls: 5, key: user, principal: a@x.org, renewal_period: minute}"
    with pytest.raises(ConfigError, match=r"user a@x\.org, the first in line 13") as caught:
        gateway("rate_limits:", entry, entry)
    assert caught.value.line == 14


def test_more_than_twenty_limits_are_too_many(gateway):
    entries = [f"  - {{calls: 5, key: user, principal: u{i}, renewal_period: minute}}" for i in range(21)]
    with pytest.raises(ConfigError, match="at most 20"):
        gateway("rate_limits:", *entries)
