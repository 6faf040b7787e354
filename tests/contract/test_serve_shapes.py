"""`aiq serve` asked in the shapes of Anthropic, Gemini and OpenAI's Responses, by those vendors' own clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import orjson
import pytest
from google import genai
from google.genai import types

from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder
from tests.contract.test_serve_clients import Served, serving

SAID = "hello there"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def served(
    simulator_process: SimulatorProcess,
    make_conf: Callable[[Path, str], ConfFolder],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("shapes")
    conf = make_conf(folder / "conf", simulator_process.url)
    agents = {
        name: {"model_server": {"url": f"{simulator_process.url}/agents/helper/invocations", "task": task}}
        for name, task in (("agent", "agent/v1/responses"), ("chatagent", "agent/v2/chat"))
    }
    conf.settings(endpoints=agents)
    conf.endpoint("chat")
    conf.endpoint("locked", permissions=[{"user_name": "someone@example.com", "level": "CAN_QUERY"}])
    conf.endpoint("guarded", gateway={"guardrails": {"input": {"invalid_keywords": ["swordfish"]}}})
    for name in agents:
        conf.endpoint(name, {"name": "main", "entity_name": f"main.agents.{name}", "entity_version": "1"})
    with serving(conf.path, folder / "home") as running:
        yield running


def plain(served: Served) -> str:
    """What the endpoint answers to `SAID`, asked as a chat."""
    said: list[Any] = [{"role": "user", "content": SAID}]
    answer = served.openai().chat.completions.create(model="chat", messages=said, max_tokens=50)
    return answer.choices[0].message.content or ""


def claude(served: Served, path: str = "/serving-endpoints/anthropic", **options: Any) -> anthropic.Anthropic:
    options = {"api_key": served.token} | options
    return anthropic.Anthropic(base_url=served.url + path, timeout=30, max_retries=0, **options)


def gemini(served: Served, path: str = "/serving-endpoints/gemini") -> genai.Client:
    options = types.HttpOptions(base_url=served.url + path, client_args={"trust_env": False})
    return genai.Client(api_key=served.token, http_options=options)


class TestResponses:
    @pytest.mark.parametrize("path", ["/serving-endpoints", "/v1", "/ai-gateway/codex/v1", "/ai-gateway/mlflow/v1"])
    def test_a_text_is_answered(self, served: Served, path: str) -> None:
        answer = served.openai(path).responses.create(model="chat", input=SAID, max_output_tokens=50)
        assert answer.output_text == plain(served)
        assert answer.status == "completed" and answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0

    def test_a_stream_has_the_events_that_the_helper_follows(self, served: Served) -> None:
        client = served.openai()
        with client.responses.stream(model="chat", input=[{"role": "user", "content": SAID}]) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        assert final.output_text == plain(served) and final.usage is not None and final.usage.output_tokens > 0
        assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
        numbers = [event.sequence_number for event in client.responses.create(model="chat", input=SAID, stream=True)]
        assert numbers == list(range(len(numbers)))

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_tool_is_called_and_its_output_answered(self, served: Served, stream: bool) -> None:
        client = served.openai()
        tool: Any = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}
        asked: list[Any] = [{"role": "user", "content": "what is the weather"}]
        if stream:
            with client.responses.stream(model="chat", input=asked, tools=[tool]) as events:
                for _ in events:
                    pass
                answer: Any = events.get_final_response()
        else:
            answer = client.responses.create(model="chat", input=asked, tools=[tool])
        (call,) = [item for item in answer.output if item.type == "function_call"]
        assert call.name == "weather" and "city" in orjson.loads(call.arguments)
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "snow in June"}
        told = client.responses.create(model="chat", input=[*asked, call.to_dict(), output], tools=[tool])
        assert "snow in June" in told.output_text

    def test_a_schema_shapes_the_text(self, served: Served) -> None:
        form: Any = {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}
        answer = served.openai().responses.create(model="chat", input="Paris", text=form)
        assert orjson.loads(answer.output_text).keys() == {"city"}

    def test_a_cut_answer_says_so(self, served: Served) -> None:
        words = " ".join(f"word{at}" for at in range(100))
        answer = served.openai().responses.create(model="chat", input=words, max_output_tokens=3)
        assert answer.status == "incomplete"
        assert answer.incomplete_details is not None and answer.incomplete_details.reason == "max_output_tokens"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"previous_response_id": "resp_1"},
            {"background": True},
            {"store": True},
            {"conversation": "conv_1"},
            {"truncation": "auto"},
            {"tools": [{"type": "web_search"}]},
            {"input": [{"type": "item_reference", "id": "x"}]},
            {"input": 5},
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            {"text": {"format": {"type": "xml"}}},
            {"temperatur": 1},
        ],
        ids=lambda wrong: "-".join(wrong),
    )
    def test_what_cannot_be_honoured_is_named(self, served: Served, wrong: dict[str, Any]) -> None:
        with served.http() as http:
            reply = http.post("/v1/responses", json={"model": "chat", "input": SAID, **wrong})
        assert reply.status_code == 400, reply.text
        named = {"text": "response_format"}.get(next(iter(wrong)), next(iter(wrong)))
        assert named in reply.json()["message"] and set(reply.json()) == {"error_code", "message"}

    def test_what_clients_send_unasked_is_not_refused(self, served: Served) -> None:
        harmless = {
            "store": False, "include": [], "tools": [], "parallel_tool_calls": True, "tool_choice": "auto",
            "metadata": {}, "prompt_cache_key": "k", "reasoning": {"summary": "auto"}, "text": {"verbosity": None},
        }  # fmt: skip
        with served.http() as http:
            reply = http.post("/v1/responses", json={"model": "chat", "input": SAID, **harmless})
        assert reply.status_code == 200, reply.text

    @pytest.mark.parametrize("fault", ["cut", "error-chunk"])
    def test_a_broken_stream_raises(self, served: Served, fault: str) -> None:
        asked = f"[[fault:{fault}]] one two three four five six seven eight"
        with pytest.raises(openai.APIError):
            for _ in served.openai().responses.create(model="chat", input=asked, stream=True):
                pass

    @pytest.mark.parametrize("name", ["agent", "chatagent"])
    def test_an_agent_answers_in_it(self, served: Served, name: str) -> None:
        asked: list[Any] = [{"role": "user", "content": SAID}]
        with served.openai().responses.stream(model=name, input=asked) as events:
            for _ in events:
                pass
            final = events.get_final_response()
        whole = served.openai().responses.create(model=name, input=asked, extra_body={"custom_inputs": {"k": 1}})
        assert final.output_text == whole.output_text != ""

    def test_an_agent_is_invoked_in_its_own_form(self, served: Served) -> None:
        with served.http() as http:
            body = {"input": [{"role": "user", "content": SAID}], "databricks_options": {"return_trace": True}}
            reply = http.post("/serving-endpoints/agent/invocations", json=body).json()
        assert reply["object"] == "response" and SAID in reply["output"][-1]["content"][0]["text"]

    @pytest.mark.parametrize("name", ["agent", "chatagent"])
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_chat_with_an_agent_has_its_outputs_and_its_trace(self, served: Served, name: str, stream: bool) -> None:
        options: Any = {"custom_inputs": {"id": 5}, "databricks_options": {"return_trace": True}}
        asked: list[Any] = [{"role": "user", "content": SAID}]
        made: Any = served.openai().chat.completions.create(
            model=name, messages=asked, stream=stream, extra_body=options
        )
        last = list(made)[-1] if stream else made
        assert last.model_extra["custom_outputs"] == {"id": 5}
        assert last.model_extra["databricks_output"]["trace"]["data"]["spans"]

    def test_a_chat_agent_streams_in_its_own_form(self, served: Served) -> None:
        body = {
            "messages": [{"role": "user", "content": SAID}],
            "context": {"conversation_id": "c-1"},
            "custom_inputs": {"id": 5},
            "databricks_options": {"return_trace": True},
        }
        with served.http() as http:
            path = "/serving-endpoints/chatagent/invocations"
            whole = http.post(path, json=body).json()
            lines = http.post(path, json={**body, "stream": True}).text.split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        events = [orjson.loads(line.removeprefix("data: ")) for line in lines[:-2]]
        (message,) = whole["messages"]
        assert "".join(event["delta"]["content"] for event in events) == message["content"] != ""
        assert {event["delta"]["role"] for event in events} == {"assistant"}
        assert len(events) > 2 and len({event["delta"]["id"] for event in events}) == 1 and message["id"]
        last = events[-1]
        for name in ("finish_reason", "custom_outputs", "databricks_output", "usage"):
            assert last[name] == whole[name], name
            assert not any(name in event for event in events[:-1])

    @pytest.mark.parametrize("fault", ["cut", "error-chunk"])
    def test_a_chat_agent_that_breaks_off_is_cut(self, served: Served, fault: str) -> None:
        said = [{"role": "user", "content": f"[[fault:{fault}]] one two three four five six seven eight"}]
        body = {"messages": said, "stream": True}
        with served.http() as http, pytest.raises(httpx.HTTPError):
            http.post("/serving-endpoints/chatagent/invocations", json=body)


class TestAnthropic:
    @pytest.mark.parametrize("path", ["/serving-endpoints/anthropic", "/ai-gateway/anthropic"])
    @pytest.mark.parametrize("key", ["api_key", "auth_token"])
    def test_a_message_is_answered(self, served: Served, path: str, key: str) -> None:
        client = claude(served, path, **({"api_key": None} | {key: served.token}))
        answer: Any = client.messages.create(model="chat", max_tokens=50, messages=[{"role": "user", "content": SAID}])
        assert answer.content[0].text == plain(served)
        assert answer.stop_reason == "end_turn" and answer.usage.output_tokens > 0

    def test_a_stream_gathers_to_the_same(self, served: Served) -> None:
        client = claude(served)
        asked: Any = {"model": "chat", "max_tokens": 50, "messages": [{"role": "user", "content": SAID}]}
        with client.messages.stream(**asked) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        whole = client.messages.create(**asked)
        assert text == plain(served)
        assert final.usage.output_tokens == whole.usage.output_tokens > 0
        assert final.usage.input_tokens == whole.usage.input_tokens > 0
        assert final.content[0].text == whole.content[0].text and final.stop_reason == whole.stop_reason

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_tool_is_used_and_its_result_read(self, served: Served, stream: bool) -> None:
        client = claude(served)
        asked: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "what is the weather"}]}]
        tools: list[Any] = [{"name": "weather", "description": "of a city", "input_schema": SCHEMA}]
        options: Any = {
            "model": "chat",
            "max_tokens": 90,
            "tools": tools,
            "system": [{"type": "text", "text": "Be kind"}],
        }
        if stream:
            with client.messages.stream(messages=asked, **options) as events:
                answer: Any = events.get_final_message()
        else:
            answer = client.messages.create(messages=asked, **options)
        (use,) = [block for block in answer.content if block.type == "tool_use"]
        assert answer.stop_reason == "tool_use" and use.name == "weather" and "city" in use.input
        result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "snow in June"}]}
        told: Any = client.messages.create(
            messages=[*asked, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}],
            **options,
        )
        assert "snow in June" in told.content[0].text

    def test_errors_are_in_its_form(self, served: Served) -> None:
        client = claude(served)
        said: list[Any] = [{"role": "user", "content": "swordfish"}]
        for model, error in (
            ("nope", anthropic.NotFoundError),
            ("locked", anthropic.PermissionDeniedError),
            ("guarded", anthropic.BadRequestError),
        ):
            with pytest.raises(error) as raised:
                client.messages.create(model=model, max_tokens=9, messages=said)
            assert raised.value.body["type"] == "error" and raised.value.body["error"]["message"]  # type: ignore[index]
        with pytest.raises(anthropic.AuthenticationError):
            claude(served, api_key="wrong").models.list()
        broken: list[Any] = [{"role": "user", "content": "[[fault:cut]] one two three four five six seven"}]
        with (
            pytest.raises((anthropic.APIError, httpx.HTTPError)),
            client.messages.stream(model="chat", max_tokens=50, messages=broken) as stream,
        ):
            stream.get_final_message()

    def test_tokens_are_counted_and_models_listed(self, served: Served) -> None:
        client = claude(served)
        said: list[Any] = [{"role": "user", "content": SAID * 100}]
        assert 200 < client.messages.count_tokens(model="chat", messages=said).input_tokens < 400
        listed = client.models.list().data
        assert "chat" in {model.id for model in listed} and "locked" not in {model.id for model in listed}
        assert client.models.retrieve("chat").id == "chat"
        with pytest.raises(anthropic.PermissionDeniedError):
            client.messages.count_tokens(model="locked", messages=said)

    def test_what_is_new_to_us_is_dropped(self, served: Served) -> None:
        body = {
            "model": "chat", "max_tokens": 20, "context_management": {"edits": []}, "service_tier": "auto",
            "thinking": {"type": "adaptive"}, "metadata": {"user_id": "u"},
            "system": [{"type": "text", "text": "Be kind", "cache_control": {"type": "ephemeral", "scope": "global"}}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": SAID, "cache_control": None}]}],
            "tools": [{"name": "t", "input_schema": SCHEMA, "eager_input_streaming": True}],
        }  # fmt: skip
        with served.http() as http:
            headers = {"anthropic-beta": "what-comes-2030-01-01"}
            reply = http.post("/serving-endpoints/anthropic/v1/messages?beta=true", json=body, headers=headers)
        assert reply.status_code == 200, reply.text

    @pytest.mark.parametrize(
        "wrong",
        [
            {"max_tokens": None},
            {"messages": "hi"},
            {"messages": [{"role": "tool", "content": "x"}]},
            {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            {"tools": [{"name": "x"}]},
            {"top_k": 5},
        ],
        ids=str,
    )
    def test_what_cannot_be_honoured_is_named(self, served: Served, wrong: dict[str, Any]) -> None:
        body = {"model": "chat", "max_tokens": 9, "messages": [{"role": "user", "content": SAID}], **wrong}
        with served.http() as http:
            reply = http.post("/serving-endpoints/anthropic/v1/messages", json=body)
        assert reply.status_code == 400, reply.text
        assert next(iter(wrong)) in reply.json()["error"]["message"]


class TestGemini:
    @pytest.mark.parametrize("path", ["/serving-endpoints/gemini", "/ai-gateway/gemini"])
    def test_contents_are_answered_whole_and_streamed(self, served: Served, path: str) -> None:
        client = gemini(served, path)
        whole = client.models.generate_content(model="chat", contents=SAID)
        assert whole.text == plain(served)
        chunks = list(client.models.generate_content_stream(model="chat", contents=SAID))
        assert "".join(chunk.text or "" for chunk in chunks) == whole.text
        assert chunks[-1].usage_metadata == whole.usage_metadata and whole.usage_metadata is not None
        assert chunks[-1].candidates is not None and chunks[-1].candidates[0].finish_reason == "STOP"

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_function_is_called_and_its_response_read(self, served: Served, stream: bool) -> None:
        client = gemini(served)
        declared = types.FunctionDeclaration(
            name="weather",
            parameters=types.Schema(
                type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)}, required=["city"]
            ),
        )
        config = types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[declared])],
            system_instruction="Be kind",
            max_output_tokens=90,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        asked = types.Content(role="user", parts=[types.Part(text="what is the weather")])
        if stream:
            answers = list(client.models.generate_content_stream(model="chat", contents=asked, config=config))
        else:
            answers = [client.models.generate_content(model="chat", contents=asked, config=config)]
        (call,) = [call for answer in answers for call in answer.function_calls or []]
        assert call.name == "weather" and call.args is not None and "city" in call.args
        for id in (call.id, None):
            said = types.Content(role="model", parts=[types.Part(function_call=call.model_copy(update={"id": id}))])
            result = types.FunctionResponse(id=id, name="weather", response={"output": "snow in June"})
            told = client.models.generate_content(
                model="chat",
                contents=[asked, said, types.Content(role="user", parts=[types.Part(function_response=result)])],
                config=config,
            )
            assert "snow in June" in (told.text or "")

    def test_a_schema_shapes_the_text(self, served: Served) -> None:
        schema = types.Schema(type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)})
        config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=schema)
        client = gemini(served)
        answer = client.models.generate_content(model="chat", contents="Paris", config=config)
        assert orjson.loads(answer.text or "").keys() <= {"city"}

    def test_errors_are_in_its_form(self, served: Served) -> None:
        client = gemini(served)
        for model, code in (("nope", 404), ("locked", 403), ("guarded", 400)):
            with pytest.raises(genai.errors.ClientError) as raised:
                client.models.generate_content(model=model, contents="swordfish")
            assert raised.value.code == code and raised.value.message
        with served.http() as http:
            for body in (
                {"contents": []},
                {"contents": [{"parts": [{"video": 1}]}]},
                {"contents": SAID, "generationConfig": {"speechConfig": {}}},
                {"contents": SAID, "tools": [{"googleSearch": {}}]},
                {"contents": SAID, "safetySettings": [{"category": "X", "threshold": "BLOCK_LOW_AND_ABOVE"}]},
                {"contents": SAID, "cachedContent": "cachedContents/1"},
            ):
                reply = http.post("/serving-endpoints/gemini/v1beta/models/chat:generateContent", json=body)
                assert (reply.status_code, reply.json()["error"]["status"]) == (400, "INVALID_ARGUMENT"), reply.text

    def test_tokens_are_counted_and_models_listed(self, served: Served) -> None:
        client = gemini(served)
        counted = client.models.count_tokens(model="chat", contents=SAID * 100).total_tokens
        assert counted is not None and 200 < counted < 400
        assert "models/chat" in {model.name for model in client.models.list()}
        assert client.models.get(model="chat").name == "models/chat"
