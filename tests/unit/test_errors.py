"""The texts of errors: what failed, where, how often, and a code that a program can tell apart."""

from __future__ import annotations

import pytest

from aiq.errors import ConfigError, FunctionError, PolicyError, ProviderError, ResultError


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "bad"),
        ({"field": "a.b"}, "a.b: bad"),
        ({"file": "x.yml"}, "x.yml: bad"),
        ({"file": "x.yml", "line": 3, "field": "a.b"}, "x.yml:3: a.b: bad"),
    ],
)
def test_a_config_error_says_file_line_and_field(place: dict[str, object], text: str) -> None:
    assert str(ConfigError("bad", **place)) == text  # type: ignore[arg-type]


def test_a_function_error_carries_condition_and_sqlstate() -> None:
    error = FunctionError("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", "two or more")
    assert error.sqlstate == "42605"
    assert str(error) == "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] two or more SQLSTATE: 42605"


def failed(attempts: int) -> ProviderError:
    error = ProviderError("no model", kind="overloaded", status=503, endpoint="chat", entity="mini")
    error.attempts = attempts
    return error


def test_a_provider_error_is_databricks_remote_failure() -> None:
    assert str(failed(1)) == (
        "[REMOTE_FUNCTION_HTTP_FAILED_ERROR] The remote HTTP request failed with code 503, and error message "
        "'no model' (endpoint 'chat', served entity 'mini') SQLSTATE: 57012"
    )


def test_after_retries_it_says_how_many() -> None:
    text = str(failed(4))
    assert text.startswith("[REMOTE_FUNCTION_HTTP_RETRY_TIMEOUT]")
    assert "after retrying 3 times" in text


def test_a_policy_error_names_the_endpoint_and_keeps_its_rest_code() -> None:
    error = PolicyError("limit", endpoint="chat", status=429, error_code="REQUEST_LIMIT_EXCEEDED", retry_after_s=2.0)
    assert "code 429" in str(error) and "endpoint 'chat'" in str(error)
    assert (error.error_code, error.retry_after_s) == ("REQUEST_LIMIT_EXCEEDED", 2.0)


def test_a_result_error_was_answered_with_200() -> None:
    error = ResultError("AI_FUNCTION_HTTP_PARSE_CAST_ERROR", "no INT", endpoint="chat")
    assert error.status == 200
    assert str(error) == "[AI_FUNCTION_HTTP_PARSE_CAST_ERROR] no INT SQLSTATE: 2203G"
