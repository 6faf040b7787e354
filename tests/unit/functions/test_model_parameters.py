"""The `modelParameters` argument."""

import math
from datetime import date
from decimal import Decimal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.errors import FunctionError
from aiq.functions.model_parameters import check_model_parameters
from aiq.providers.abilities import Abilities

CHAT, COMPLETIONS, EMBEDDINGS = "llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings"


PROVIDERS = {"openai": Abilities(), "custom": Abilities(own=None)}


def check(params, task=CHAT, provider="openai", providers=None):
    providers = providers or {provider: PROVIDERS[provider]}
    return check_model_parameters(params, task=task, endpoint="ep", providers=providers)


def sub_condition_of(params, task=CHAT, **kwargs):
    with pytest.raises(FunctionError) as e:
        check(params, task, **kwargs)
    condition, _, sub_condition = e.value.condition.partition(".")
    assert (condition, e.value.sqlstate) == ("AI_FUNCTION_INVALID_MODEL_PARAMETERS", "22023")
    return sub_condition, str(e.value)


@pytest.mark.parametrize("zero", [0, 0.0, Decimal("0.0"), Decimal(0)])
def test_every_spelling_of_a_number_gives_one_request(zero):
    assert orjson.dumps(check({"temperature": zero})) == b'{"temperature":0.0}'


@pytest.mark.parametrize("tokens", [256, 256.0, Decimal("256"), Decimal("256.00")])
def test_a_whole_number_is_sent_as_an_integer(tokens):
    assert orjson.dumps(check({"max_tokens": tokens})) == b'{"max_tokens":256}'


@pytest.mark.parametrize(
    ("task", "params", "expected"),
    [
        (CHAT, {"temperature": None, "n": 1}, {"n": 1}),
        (CHAT, {"stop": "x"}, {"stop": "x"}),
        (CHAT, {"stop": ("a", "b")}, {"stop": ["a", "b"]}),
        (CHAT, {"logit_bias": {"50": Decimal("-1")}}, {"logit_bias": {"50": -1.0}}),
        (CHAT, {"logit_bias": [("50", 1)]}, {"logit_bias": {"50": 1.0}}),
        (CHAT, {"metadata": [("k", "v"), ("l", None)]}, {"metadata": {"k": "v"}}),
        (CHAT, {"logprobs": True, "top_logprobs": 20}, {"logprobs": True, "top_logprobs": 20}),
        (CHAT, {"tool_choice": {"type": "function", "x": None}}, {"tool_choice": {"type": "function"}}),
        (CHAT, {"tools": ({"a": (Decimal("1"), Decimal("1.5"))},)}, {"tools": [{"a": [1, 1.5]}]}),
        (CHAT, {"extra_params": {"top_k": Decimal(40), "x": None}, "seed": 1}, {"seed": 1, "top_k": 40}),
        (CHAT, {"extra_params": [("top_k", "40")]}, {"top_k": "40"}),
        (CHAT, {"extra_params": None}, {}),
        (COMPLETIONS, {"logprobs": 5, "echo": False}, {"logprobs": 5, "echo": False}),
        (EMBEDDINGS, {"dimensions": 256, "user": "u"}, {"dimensions": 256, "user": "u"}),
        (EMBEDDINGS, {}, {}),
    ],
)
def test_known_parameters_are_made_ready_for_json(task, params, expected):
    assert check(params, task) == expected


@pytest.mark.parametrize(
    "name", ["prompt", "messages", "input", "model", "stream", "response_format", "encoding_format"]
)
@pytest.mark.parametrize("provider", ["openai", "custom"])
def test_a_name_that_belongs_to_the_request_is_refused(name, provider):
    assert sub_condition_of({name: "x"}, provider=provider)[0] == "FOUND_RESERVED_PARAMETER_NAME"
    assert sub_condition_of({"extra_params": {name: "x"}}, provider=provider)[0] == "FOUND_RESERVED_PARAMETER_NAME"


def test_a_custom_model_takes_no_parameters():
    assert sub_condition_of({"temperature": 0}, "custom")[0] == "UNSUPPORTED_ENDPOINT_TYPE"


@pytest.mark.parametrize(
    ("task", "params", "said"),
    [
        (CHAT, {"temperature": 2.1}, "`temperature` must be between 0 and 2, but is 2.1"),
        (CHAT, {"temperature": Decimal("-0.1")}, "between 0 and 2, but is -0.1"),
        (CHAT, {"temperature": math.nan}, "between 0 and 2"),
        (CHAT, {"temperature": Decimal("NaN")}, "between 0 and 2, but is NaN"),
        (CHAT, {"top_p": math.inf}, "between 0 and 1"),
        (CHAT, {"max_tokens": 0}, "at least 1, but is 0"),
        (CHAT, {"max_tokens": Decimal("1e999999999")}, "at least 1"),
        (CHAT, {"presence_penalty": -3}, "between -2 and 2"),
        (CHAT, {"top_logprobs": 21}, "between 0 and 20"),
        (CHAT, {"logit_bias": {"50": 101}}, "`logit_bias.50` must be between -100 and 100"),
        (CHAT, {"n": 2}, "a SQL function returns one answer a row"),
        (CHAT, {"extra_params": {"top_k": math.nan}}, "`top_k` must be a finite number"),
        (CHAT, {"extra_params": {"x": 10**30}}, "of 64 bits"),
        (CHAT, {"extra_params": {"n": 2}}, "one answer a row"),
        (COMPLETIONS, {"logprobs": 6}, "between 0 and 5"),
        (EMBEDDINGS, {"dimensions": 0}, "at least 1"),
    ],
)
def test_a_number_outside_its_range_is_refused(task, params, said):
    sub_condition, message = sub_condition_of(params, task)
    assert sub_condition == "INVALID_NUMERIC_PARAMETER"
    assert said in message


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"temperature": "0.5"}, '`temperature` must be a number, but is "0.5"'),
        ({"temperature": True}, "must be a number, but is true"),
        ({"max_tokens": 1.5}, "must be a whole number, but is 1.5"),
        ({"logprobs": 1}, "must be a BOOLEAN"),
        ({"user": 7}, "must be a STRING"),
        ({"stop": []}, "1 to 4 STRINGs"),
        ({"stop": ["a"] * 5}, "1 to 4 STRINGs"),
        ({"stop": ["a", None]}, "1 to 4 STRINGs"),
        ({"metadata": {"k": 1}}, "`metadata.k` must be a STRING"),
        ({"metadata": "x"}, "must be a MAP of STRINGs"),
        ({"logit_bias": {50: 1}}, "must be a MAP of token ids"),
        ({"tools": {}}, "must be an ARRAY of STRUCTs"),
        ({"tools": ["x"]}, "must be an ARRAY of STRUCTs"),
        ({"tool_choice": 1}, "a STRING or a STRUCT"),
        ({"extra_params": 1}, "a MAP or a STRUCT"),
        ({"extra_params": {"since": date(2024, 5, 31)}}, "must be a type that JSON has"),
        ({"extra_params": {"blob": b"\xff"}}, "must be a type that JSON has"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_expected_one(params, said):
    sub_condition, message = sub_condition_of(params)
    assert sub_condition == "INVALID_PARAMETER_DATA_TYPE"
    assert said in message


@pytest.mark.parametrize(
    ("task", "params", "said"),
    [
        (CHAT, {"temprature": 0}, "perhaps you mean `temperature`"),
        (CHAT, {"Top_P": None}, "perhaps you mean `top_p`"),
        (CHAT, {"thinking": {}}, "goes into `extra_params`"),
        (EMBEDDINGS, {"temperature": 0}, "`temperature` is no parameter of llm/v1/embeddings"),
        (CHAT, {"seed": 1, "extra_params": {"seed": 2}}, "`seed` is there again in `extra_params`"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(task, params, said):
    sub_condition, message = sub_condition_of(params, task)
    assert sub_condition == "UNSUPPORTED_MODEL_PARAMETER"
    assert said in message


def test_an_openai_compatible_server_gets_its_own_parameters():
    given = {"top_k": Decimal(40), "min_p": Decimal("0.05"), "repetition_penalty": 1.1}
    assert check(given, provider="custom") == {"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1}


def test_known_parameters_are_checked_for_an_openai_compatible_server_too():
    assert sub_condition_of({"temperature": 3}, provider="custom")[0] == "INVALID_NUMERIC_PARAMETER"


def test_what_one_of_the_providers_cannot_honour_is_refused_by_its_name():
    narrow = Abilities({CHAT: frozenset({"temperature"})}, own=frozenset({"top_k"}))
    both = {"openai": Abilities(), "anthropic": narrow}
    sub_condition, message = sub_condition_of({"seed": 1}, providers=both)
    assert sub_condition == "UNSUPPORTED_MODEL_PARAMETER"
    assert "`seed` cannot be honoured by provider anthropic" in message
    assert check({"temperature": 1, "top_k": 5}, providers={"anthropic": narrow}) == {"temperature": 1.0, "top_k": 5}
    assert sub_condition_of({"top_k": 5}, providers=both)[0] == "UNSUPPORTED_MODEL_PARAMETER"


def test_the_message_names_the_parameters_and_the_endpoint():
    _, message = sub_condition_of({"temperature": Decimal("2.5")})
    expected = 'model parameters ({"temperature":2.5}) invalid in the AI_QUERY function for serving endpoint "ep": '
    assert expected in message


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.text() | st.binary() | st.dates()
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3), max_leaves=5
)
parameter_names = (
    st.sampled_from(["temperature", "max_tokens", "stop", "tools", "logit_bias", "extra_params"]) | st.text()
)


@settings(deadline=None)
@given(
    st.dictionaries(parameter_names, values, max_size=4),
    st.sampled_from([CHAT, COMPLETIONS, EMBEDDINGS, "custom", "x" * 999]),
    st.text(max_size=300),
    st.sampled_from(["openai", "custom"]),
)
def test_any_parameters_are_json_or_a_short_error(params, task, endpoint, provider):
    try:
        result = check_model_parameters(params, task=task, endpoint=endpoint, providers={provider: PROVIDERS[provider]})
    except FunctionError as e:
        assert len(str(e)) <= 520
    else:
        assert None not in result.values()
        orjson.dumps(result)
