"""A program for the environment `.venv-clients`: asks `aiq serve` as MLflow, LangChain and OpenAI's agents do.

`python library_clients.py mlflow|langchain|agents`, with DATABRICKS_HOST and DATABRICKS_TOKEN. It ends with an exit
code other than 0 at the first thing that is not as a user of these clients expects it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

HOST, TOKEN = os.environ["DATABRICKS_HOST"], os.environ["DATABRICKS_TOKEN"]
SAID = [{"role": "user", "content": "hello there"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def raises(action: Any, words: str, kind: type[Exception] | tuple[type[Exception], ...] = Exception) -> None:
    """Fails unless an action raises an error with these words."""
    try:
        found = action()
    except kind as error:
        assert words in str(error), f"{type(error).__name__}: {error}"
    else:
        raise AssertionError(f"no error with {words!r}, but {found!r}")


def mlflow() -> None:
    from mlflow.deployments import get_deploy_client
    from mlflow.exceptions import MlflowException
    from requests.exceptions import ChunkedEncodingError, HTTPError

    client = get_deploy_client("databricks")
    said = {"messages": SAID, "max_tokens": 20}
    answer = client.predict(endpoint="chat", inputs=said)
    text = answer["choices"][0]["message"]["content"]
    assert "hello there" in text and answer["usage"]["total_tokens"] > 0
    assert client.predict(endpoint="chat", inputs={**said, "databricks_options": {"return_trace": True}})["choices"]
    pieces = list(client.predict_stream(endpoint="chat", inputs=said))
    assert "".join(choice["delta"].get("content") or "" for piece in pieces for choice in piece["choices"]) == text
    assert pieces[-1]["usage"] == answer["usage"]
    assert len(client.predict(endpoint="emb", inputs={"input": ["one", "two"]})["data"]) == 2
    assert client.predict(endpoint="complete", inputs={"prompt": "Once"})["choices"][0]["text"]
    rows = {"dataframe_records": [{"text": "win a prize"}, {"text": "see you"}]}
    assert len(client.predict(endpoint="model", inputs=rows)["predictions"]) == 2
    raises(lambda: client.predict(endpoint="nope", inputs=said), "404", HTTPError)
    raises(lambda: client.predict(endpoint="chat", inputs={"inputs": ["x"]}), "takes messages", HTTPError)
    raises(lambda: client.predict(endpoint="locked", inputs=said), "403", HTTPError)
    cut = {"messages": [{"role": "user", "content": "[[fault:cut]] one two three four five six seven"}]}
    raises(
        lambda: list(client.predict_stream(endpoint="chat", inputs=cut)), "", (ChunkedEncodingError, MlflowException)
    )
    _mlflow_chat_agent(client)
    _mlflow_control(client)


def _mlflow_chat_agent(client: Any) -> None:
    """A ChatAgent's replies are what MLflow's own types take."""
    from mlflow.types.agent import ChatAgentChunk, ChatAgentResponse

    options = {"custom_inputs": {"id": 5}, "databricks_options": {"return_trace": True}}
    whole = client.predict(endpoint="chatagent", inputs={"messages": SAID, **options})
    said = ChatAgentResponse(**whole)
    assert said.custom_outputs == {"id": 5} and whole["databricks_output"]["trace"]
    pieces = list(client.predict_stream(endpoint="chatagent", inputs={"messages": SAID, **options}))
    chunks = [ChatAgentChunk(**piece) for piece in pieces]
    assert "".join(chunk.delta.content or "" for chunk in chunks) == said.messages[-1].content
    assert chunks[-1].custom_outputs == {"id": 5} and chunks[-1].finish_reason == "stop"
    assert pieces[-1]["databricks_output"] == whole["databricks_output"]


def _mlflow_control(client: Any) -> None:
    """Endpoints made, read, changed and deleted."""
    section = {"openai_api_base": os.environ["AIQ_SIMULATOR"] + "/v1", "openai_api_key_plaintext": "sk-new"}
    model = {"name": "gpt-4o-mini", "provider": "openai", "task": "llm/v1/chat", "openai_config": section}
    entities = [{"name": "one", "external_model": model}]
    made = client.create_endpoint(
        config={"name": "made", "config": {"served_entities": entities}, "tags": [{"key": "team", "value": "a"}]}
    )
    assert made["name"] == "made" and "sk-new" not in str(made)
    raises(
        lambda: client.create_endpoint(config={"name": "made", "config": {"served_entities": entities}}),
        "made",
        Exception,
    )
    assert client.predict(endpoint="made", inputs={"messages": SAID})["choices"]
    assert client.get_endpoint("made")["config"]["served_entities"][0]["name"] == "one"
    assert "made" in {endpoint["name"] for endpoint in client.list_endpoints()}
    both = [*entities, {"name": "two", "external_model": {**model, "name": "gpt-4o"}}]
    routes = [
        {"served_entity_name": "one", "traffic_percentage": 0},
        {"served_entity_name": "two", "traffic_percentage": 100},
    ]
    client.update_endpoint_config("made", {"served_entities": both, "traffic_config": {"routes": routes}})
    assert client.predict(endpoint="made", inputs={"messages": SAID})["model"] == "gpt-4o"
    client.update_endpoint_tags("made", {"add_tags": [{"key": "cost", "value": "b"}], "delete_tags": ["team"]})
    assert client.get_endpoint("made")["tags"] == [{"key": "cost", "value": "b"}]
    client.update_endpoint_rate_limits("made", {"rate_limits": [{"calls": 9, "renewal_period": "minute"}]})
    gateway = {"rate_limits": [{"calls": 7, "renewal_period": "minute", "key": "endpoint"}]}
    assert client.update_endpoint_ai_gateway("made", gateway)["rate_limits"][0]["calls"] == 7
    assert client.get_endpoint("made")["ai_gateway"]["rate_limits"][0]["calls"] == 7
    client.delete_endpoint("made")
    assert "made" not in {endpoint["name"] for endpoint in client.list_endpoints()}
    raises(lambda: client.get_endpoint("made"), "made", Exception)


def langchain() -> None:
    import openai
    from databricks_langchain import ChatDatabricks, DatabricksEmbeddings
    from langchain_core.messages import HumanMessage, ToolMessage

    chat = ChatDatabricks(model="chat", max_tokens=40)
    answer = chat.invoke("hello there")
    assert "hello there" in answer.content and answer.usage_metadata["total_tokens"] > 0
    whole: Any = None
    for piece in chat.stream("hello there"):
        whole = piece if whole is None else whole + piece
    assert whole.content == answer.content and whole.usage_metadata == answer.usage_metadata
    assert asyncio.run(chat.ainvoke("hello there")).content == answer.content

    tool = {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": WEATHER}}
    bound = chat.bind_tools([tool])
    asked = [HumanMessage("what is the weather")]
    called = bound.invoke(asked)
    (call,) = called.tool_calls
    assert call["name"] == "weather" and "city" in call["args"]
    streamed: Any = None
    for piece in bound.stream(asked):
        streamed = piece if streamed is None else streamed + piece
    assert [each["args"] for each in streamed.tool_calls] == [call["args"]]
    told = bound.invoke([*asked, called, ToolMessage("snow in June", tool_call_id=call["id"])])
    assert "snow in June" in told.content

    form = {"title": "place", "description": "A place", **WEATHER, "additionalProperties": False}
    for method in ("json_schema", "function_calling", "json_mode"):
        found = chat.with_structured_output(form, method=method).invoke("Paris, as JSON")
        assert isinstance(found, dict) and (method == "json_mode" or "city" in found), (method, found)

    responses = ChatDatabricks(model="chat", use_responses_api=True)
    assert "hello there" in str(responses.invoke("hello there").content)
    assert "hello" in "".join(str(piece.content) for piece in responses.stream("hello there"))
    gateway = ChatDatabricks(model="chat", use_ai_gateway=True)
    assert "hello there" in gateway.invoke("hello there").content

    raises(lambda: ChatDatabricks(model="nope").invoke("x"), "does not exist", openai.NotFoundError)
    broken = "[[fault:error-chunk]] one two three four five six seven eight"
    raises(lambda: list(chat.stream(broken)), "", openai.APIError)

    vectors = DatabricksEmbeddings(endpoint="emb")
    texts = [f"text {number}" for number in range(25)]
    many = vectors.embed_documents(texts)
    assert len(many) == 25 and many[24] == vectors.embed_query("text 24") and many[0] != many[1]


def agents() -> None:
    from agents import Agent, AgentsException, Runner, function_tool, set_tracing_disabled
    from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
    from agents.models.openai_responses import OpenAIResponsesModel
    from openai import APIError, AsyncOpenAI

    set_tracing_disabled(True)

    @function_tool
    def weather(city: str) -> str:
        """The weather of a city."""
        return f"snow in June, {len(city)} letters"

    async def work() -> None:
        client = AsyncOpenAI(base_url=f"{HOST}/serving-endpoints", api_key=TOKEN, max_retries=0)
        for kind in (OpenAIResponsesModel, OpenAIChatCompletionsModel):
            plain = Agent(name="plain", model=kind("chat", client))
            with_tool = Agent(name="weather", instructions="Be brief.", model=kind("chat", client), tools=[weather])
            said = await Runner.run(plain, "hello there")
            assert "hello there" in said.final_output
            assert said.context_wrapper.usage.total_tokens > 0
            answer = await Runner.run(with_tool, "what is the weather")
            assert "snow in June" in answer.final_output, answer.final_output
            running = Runner.run_streamed(with_tool, "what is the weather")
            kinds = {event.type async for event in running.stream_events()}
            assert "snow in June" in running.final_output and "raw_response_event" in kinds
            broken = Runner.run_streamed(plain, "[[fault:cut]] one two three four five six seven eight")
            try:
                async for _ in broken.stream_events():
                    pass
            except (APIError, AgentsException):
                continue
            raise AssertionError(f"{kind.__name__} takes a cut answer for whole: {broken.final_output!r}")

    asyncio.run(work())


if __name__ == "__main__":
    {"mlflow": mlflow, "langchain": langchain, "agents": agents}[sys.argv[1]]()
