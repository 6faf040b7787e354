"""`aiq serve` as a process of its own, asked by the clients that people have."""

from __future__ import annotations

import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import orjson
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue, PermissionDenied, ResourceDoesNotExist, Unauthenticated
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole

import aiq
from aiq.errors import RequestFailed
from aiq.serve.tokens import Tokens
from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder

ADA = "ada@example.com"


class Served:
    """A running server: where it is, and who may ask."""

    def __init__(self, url: str, home: Path, process: subprocess.Popen[str]) -> None:
        self.url, self.home, self.process = url, home, process
        self.tokens = Tokens(home)
        self.token = self.tokens.create(ADA, ["people"])

    def http(self, token: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {token or self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    def openai(self, path: str = "/serving-endpoints", **options: Any) -> openai.OpenAI:
        client = httpx.Client(trust_env=False, timeout=30)
        return openai.OpenAI(base_url=self.url + path, api_key=self.token, http_client=client, **options)

    def databricks(self, **options: Any) -> WorkspaceClient:
        return WorkspaceClient(host=self.url, **({"token": self.token, "auth_type": "pat"} | options))


@contextmanager
def serving(conf: Path, home: Path, *options: str) -> Iterator[Served]:
    """`aiq serve` on a free port, until the end of the block; it then ends by SIGTERM."""
    command = [
        sys.executable,
        "-m",
        "aiq.cli",
        "serve",
        "--port",
        "0",
        "--conf",
        str(conf),
        "--home",
        str(home),
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            first = next(line for line in process.stdout if "http://" in line)
            yield Served(first.split(" on ")[1].split(". Stop")[0], home, process)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


@pytest.fixture(scope="module")
def served(
    simulator_process: SimulatorProcess,
    make_conf: Callable[[Path, str], ConfFolder],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    conf = make_conf(folder / "conf", simulator_process.url)
    conf.settings(endpoints={"model": {"model_server": {"url": f"{simulator_process.url}/invocations"}}})
    table = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "chat"}
    conf.endpoint("chat", gateway={"inference_table_config": table})
    conf.endpoint("emb", task="llm/v1/embeddings", model="text-embedding-3-small")
    conf.endpoint("complete", task="llm/v1/completions", model="gpt-3.5-turbo-instruct")
    conf.endpoint("model", {"name": "spam", "entity_name": "spam", "entity_version": "1"})
    conf.endpoint("locked", permissions=[{"user_name": "someone@example.com", "level": "CAN_QUERY"}])
    limit = {"calls": 1, "key": "endpoint", "renewal_period": "minute"}
    conf.endpoint("slow", gateway={"rate_limits": [limit]})
    keywords = {"input": {"invalid_keywords": ["swordfish"]}}
    conf.endpoint("guarded", gateway={"guardrails": keywords})
    pair = [conf.entity("first", "gpt-4o-mini"), conf.entity("second", "gpt-4o")]
    conf.endpoint(
        "pair",
        *pair,
        traffic={"first": 100, "second": 0},
        gateway={"guardrails": keywords, "fallback_config": {"enabled": True}},
    )
    with serving(conf.path, folder / "home") as running:
        yield running


SAID: list[Any] = [{"role": "user", "content": "hello there"}]


@pytest.mark.parametrize("path", ["/serving-endpoints", "/v1", "/serving-endpoints/v1", "/ai-gateway/mlflow/v1"])
def test_openai_client(served: Served, path: str) -> None:
    client = served.openai(path)
    answer = client.chat.completions.create(model="chat", messages=SAID, max_tokens=20)
    assert "hello there" in (answer.choices[0].message.content or "")
    assert answer.usage is not None and answer.usage.total_tokens == (
        answer.usage.prompt_tokens + answer.usage.completion_tokens
    )
    assert {"chat", "emb"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("chat").id == "chat"
    vectors = client.embeddings.create(model="emb", input=["one", "two"])
    assert [len(item.embedding) for item in vectors.data] == [len(vectors.data[0].embedding)] * 2
    assert client.completions.create(model="complete", prompt="hello").choices[0].text


def test_openai_stream(served: Served) -> None:
    client = served.openai()
    whole = client.chat.completions.create(model="chat", messages=SAID)
    stream = client.chat.completions.create(model="chat", messages=SAID, stream=True)
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert ends == ["stop"]
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(usages) == 1 and usages[0] == whole.usage and chunks[-1].choices == []
    with client.chat.completions.stream(model="chat", messages=SAID) as helped:
        assert helped.get_final_completion().choices[0].message.content == text


def test_openai_errors(served: Served) -> None:
    client = served.openai(max_retries=0)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nope", messages=SAID)
    with pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(model="locked", messages=SAID)
    with pytest.raises(openai.BadRequestError, match="temperatur"):
        client.chat.completions.create(model="chat", messages=SAID, extra_body={"temperatur": 1})
    with pytest.raises(openai.BadRequestError, match="input_guardrail_triggered"):
        client.chat.completions.create(model="guarded", messages=[{"role": "user", "content": "swordfish"}])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="wrong", max_retries=0).models.list()


def test_a_limit_says_when_to_come_again(served: Served) -> None:
    with served.http() as http:
        replies = [http.post("/serving-endpoints/slow/invocations", json={"messages": SAID}) for _ in range(3)]
    assert replies[0].status_code == 200
    for reply in replies[1:]:
        assert reply.status_code == 429 and reply.json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"
        assert 0 < int(reply.headers["retry-after"]) <= 61
        assert int(reply.headers["retry-after-ms"]) <= 1000 * int(reply.headers["retry-after"])


def test_databricks_sdk(served: Served) -> None:
    client = served.databricks()
    assert client.current_user.me().user_name == ADA
    message = ChatMessage(role=ChatMessageRole.USER, content="hello there")
    answer = client.serving_endpoints.query("chat", messages=[message], max_tokens=20, client_request_id="c-1")
    assert answer.choices is not None and answer.choices[0].message is not None
    assert "hello there" in (answer.choices[0].message.content or "")
    assert answer.served_model_name == "main"
    vectors = client.serving_endpoints.query("emb", input=["one"])
    assert vectors.data is not None and vectors.data[0].embedding
    scored = client.serving_endpoints.query("model", dataframe_records=[{"text": "win a prize"}])
    assert scored.predictions
    for wrong, error in (("nope", ResourceDoesNotExist), ("locked", PermissionDenied)):
        with pytest.raises(error):
            client.serving_endpoints.query(wrong, messages=[message])
    with pytest.raises(InvalidParameterValue, match="takes messages"):
        client.serving_endpoints.query("chat", inputs=["x"])
    with pytest.raises(Unauthenticated):
        served.databricks(token="wrong").current_user.me()
    opened = client.serving_endpoints.get_open_ai_client()
    assert opened.chat.completions.create(model="chat", messages=SAID).choices[0].message.content


def test_the_control_plane_is_read(served: Served) -> None:
    client = served.databricks().serving_endpoints
    listed = {endpoint.name: endpoint for endpoint in client.list()}
    assert {"chat", "emb", "model", "slow"} <= listed.keys() and "locked" not in listed
    chat = client.get("chat")
    assert chat.state is not None and str(chat.state.config_update).endswith("NOT_UPDATING")
    assert chat.config is not None and [each.name for each in chat.config.served_entities or []] == ["main"]
    assert chat.config.traffic_config is not None and chat.ai_gateway is not None
    assert client.get_permissions("chat").access_control_list
    assert client.get_permission_levels("chat").permission_levels
    assert client.get_open_api("chat").contents is not None
    assert client.logs("chat", "main").logs == ""
    with pytest.raises(ResourceDoesNotExist):
        client.get("locked")
    with pytest.raises(PermissionDenied, match="CAN_MANAGE"):
        client.delete("chat")
    with served.http() as http:
        reply = http.get("/api/2.0/serving-endpoints/")
        assert "sk-test" not in reply.text
        created = http.post("/api/2.0/serving-endpoints", json={"name": "new"})
        assert (created.status_code, created.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_a_machine_signs_in_by_oauth(served: Served) -> None:
    machine = "3f1c0f6e-robot"
    secret = served.tokens.create(machine, ["robots"], service_principal=True)
    client = served.databricks(token=None, auth_type="oauth-m2m", client_id=machine, client_secret=secret)
    assert client.current_user.me().user_name == machine
    with served.http() as http:
        form = {"grant_type": "client_credentials", "scope": "all-apis"}
        granted = http.post("/oidc/v1/token", data=form, auth=(machine, secret)).json()
        access = granted["access_token"]
        assert granted["token_type"] == "Bearer" and granted["expires_in"] == 3600
        refused = http.post("/oidc/v1/token", data=form, auth=(machine, "aiq-wrong"))
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        again = http.post("/oidc/v1/token", data=form, auth=(machine, access))  # it would never end
        assert again.status_code == 401
        person = http.post("/oidc/v1/token", data=form, auth=(ADA, served.token))
        assert person.status_code == 401
    with served.http(access) as http:
        assert http.get("/v1/models").status_code == 200
        (known,) = [token for token in served.tokens.all() if token.user == machine]
        assert served.tokens.revoke(known.id)
        assert http.get("/v1/models").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{"x-api-key": "{}"}, {"x-goog-api-key": "{}"}, {"authorization": "bearer {}"}],
    ids=["anthropic", "google", "lower case"],
)
def test_a_token_may_be_shown_in_other_ways(served: Served, headers: dict[str, str]) -> None:
    shown = {name: value.format(served.token) for name, value in headers.items()}
    assert httpx.get(f"{served.url}/v1/models", headers=shown, trust_env=False).status_code == 200
    basic = httpx.get(f"{served.url}/v1/models/", auth=("token", served.token), trust_env=False)
    assert basic.status_code == 200


def test_nobody_learns_anything_without_a_token(served: Served) -> None:
    with httpx.Client(base_url=served.url, trust_env=False) as http:
        paths = ["/v1/models", "/serving-endpoints/chat/invocations", "/serving-endpoints/nope/invocations", "/nope"]
        replies = [http.request(method, path) for path in paths for method in ("GET", "POST", "DELETE")]
        assert {reply.status_code for reply in replies} == {401}
        assert len({reply.text for reply in replies}) == 1
        assert http.get("/healthz").json() == {"status": "ok"}
        assert http.get("/readyz").status_code == 200
        found = http.get("/.well-known/databricks-config", headers={"x-forwarded-proto": "https"}).json()
        assert found["oidc_endpoint"] == served.url.replace("http://", "https://") + "/oidc"
    with served.http() as http:
        assert "locked" not in http.get("/v1/models").text


WRONG: dict[str, tuple[int, bytes]] = {
    "nothing": (400, b""),
    "cut": (400, b'{"messages": ['),
    "a list": (400, b"[]"),
    "a surrogate": (400, b'{"messages": [{"role": "user", "content": "\\ud800"}]}'),
    "deep": (400, b'{"messages":' + b"[" * 100_000),
    "no messages": (400, b"{}"),
    "empty": (400, b'{"messages": []}'),
    "two contents": (400, b'{"messages": [{"role": "user", "content": "x"}], "prompt": "x"}'),
    "a number": (400, b'{"messages": 5}'),
    "a role": (400, b'{"messages": [{"role": "robot", "content": "x"}]}'),
    "a content": (400, b'{"messages": [{"role": "user", "content": 5}]}'),
    "a part": (400, b'{"messages": [{"role": "user", "content": [5]}]}'),
    "a tool": (400, b'{"messages": [{"role": "user", "content": "x"}], "tools": [5]}'),
    "a context": (400, b'{"messages": [{"role": "user", "content": "x"}], "usage_context": {"a": 1}}'),
    "a stream": (400, b'{"messages": [{"role": "user", "content": "x"}], "stream": "yes"}'),
    "a temperature": (400, b'{"messages": [{"role": "user", "content": "x"}], "temperature": "hot"}'),
    "many answers": (400, b'{"messages": [{"role": "user", "content": "x"}], "n": 1000000}'),
    "a format": (400, b'{"messages": [{"role": "user", "content": "x"}], "response_format": "json"}'),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_body_is_told_what_is_wrong(served: Served, name: str) -> None:
    status, body = WRONG[name]
    with served.http() as http:
        reply = http.post("/serving-endpoints/chat/invocations", content=body)
        assert (reply.status_code, set(reply.json())) == (status, {"error_code", "message"})
        assert http.get("/healthz").status_code == 200


def test_what_changes_nothing_is_not_refused(served: Served) -> None:
    harmless = {
        "stream_options": {"include_usage": True}, "store": False, "service_tier": "auto", "tools": [], "stop": None,
        "parallel_tool_calls": True, "metadata": {}, "user": "u", "databricks_options": {"return_trace": True},
        "custom_inputs": {}, "usage_context": {"project": "x"}, "model": "another",
    }  # fmt: skip
    with served.http() as http:
        reply = http.post("/serving-endpoints/chat/invocations", json={"messages": SAID, **harmless})
    assert reply.status_code == 200, reply.text


def test_what_was_asked_is_in_the_ledger(
    conf: ConfFolder, home: Path, ledger_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    with serving(conf.path, home) as running, running.http() as http:
        body = {"messages": SAID, "client_request_id": "mine", "usage_context": {"project": "p1"}}
        whole = http.post("/serving-endpoints/chat/invocations", json=body)
        streamed = http.post("/serving-endpoints/chat/invocations", json={**body, "stream": True})
        refused = http.post("/serving-endpoints/chat/invocations", json={"messages": SAID, "bogus": 1})
    rows = ledger_rows("system.aiq.calls")
    assert {row["request_id"] for row in rows} == {whole.headers["x-request-id"], streamed.headers["x-request-id"]}
    assert refused.headers["x-request-id"] not in {row["request_id"] for row in rows}
    assert all(row["requester"] == ADA and row["client_request_id"] == "mine" for row in rows)
    assert len(ledger_rows("main.ai.chat_payload")) == 2
    usage = ledger_rows("system.serving.endpoint_usage")
    assert [dict(row["usage_context"]) for row in usage] == [{"project": "p1"}] * 2
    last = orjson.loads(streamed.text.split("data: ")[-2])
    assert last["usage"] == whole.json()["usage"]


def test_one_served_model_is_asked_by_its_path(served: Served) -> None:
    with served.http() as http:

        def ask(path: str, said: str = "hello", **more: Any) -> httpx.Response:
            body = {"messages": [{"role": "user", "content": said}], **more}
            return http.post(f"/serving-endpoints/{path}/invocations", json=body)

        assert ask("pair").headers["served-model-name"] == "first"
        for name, model in (("first", "gpt-4o-mini"), ("second", "gpt-4o")):
            reply = ask(f"pair/served-models/{name}")
            assert (reply.headers["served-model-name"], reply.json()["model"]) == (name, model)
        streamed = ask("pair/served-models/second", stream=True).text
        assert orjson.loads(streamed.split("data: ")[1])["model"] == "gpt-4o"
        failed = ask("pair/served-models/second", "[[fault:401]]")
        assert failed.status_code == 500 and "second" in failed.json()["message"]  # and the first was not asked
        assert "input_guardrail" in ask("pair/served-models/second", "swordfish").json()["message"]
        unknown = ask("pair/served-models/third")
        assert (unknown.status_code, unknown.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert ask("locked/served-models/main").status_code == 403
        assert ask("locked/served-models/third").status_code == 403


def test_a_row_of_sql_may_ask_a_remote_server(served: Served, conf: ConfFolder, home: Path) -> None:
    section = {"databricks_workspace_url": served.url, "databricks_api_token_plaintext": served.token}
    external = {"name": "chat", "provider": "databricks-model-serving", "task": "llm/v1/chat"}
    conf.endpoint("team", {"name": "far", "external_model": {**external, "databricks_model_serving_config": section}})
    wrong = {**external, "name": "locked", "databricks_model_serving_config": section}
    conf.endpoint("shut", {"name": "far", "external_model": wrong})
    with aiq.connect(conf=conf.path, home=home) as session:
        rows = session.sql("SELECT ai_query('team', 'hello ' || i) FROM range(5) t(i)").fetchall()
        told = session.sql("SELECT sum(output_tokens), bool_and(status = 'ok') FROM system.aiq.calls").fetchall()
        with pytest.raises(RequestFailed, match="CAN_QUERY"):  # the other server's permissions hold
            session.sql("SELECT ai_query('shut', 'hello')")
    assert all(f"hello {at}" in text for at, (text,) in enumerate(rows)) and told[0][1] and told[0][0] > 0


class Silent(socketserver.ThreadingTCPServer):
    """A provider that begins a streamed answer, and no other, and then says no more; it notes who hangs up."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _SilentHandler)
        self.left = threading.Semaphore(0)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _SilentHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Silent)
        asked = self.request.recv(1 << 16)
        if b'"stream":true' in asked:
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            delta = {"index": 0, "delta": {"role": "assistant", "content": "hello"}, "finish_reason": None}
            line = b"data: " + orjson.dumps({**chunk, "choices": [delta]}) + b"\n\n"
            self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + line)
        while self.request.recv(1 << 16):
            pass
        self.server.left.release()


def test_a_client_that_leaves_ends_the_call(
    conf: ConfFolder, home: Path, ledger_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    with Silent() as provider:
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        conf.endpoint("silent", conf.entity("main", "gpt-4o-mini", url=provider.url))
        with serving(conf.path, home) as running, running.http() as http:
            with http.stream(
                "POST", "/serving-endpoints/silent/invocations", json={"messages": SAID, "stream": True}
            ) as stream:
                next(stream.iter_lines())
            assert provider.left.acquire(timeout=30)
            with pytest.raises(httpx.ReadTimeout):
                http.post("/serving-endpoints/silent/invocations", json={"messages": SAID}, timeout=1)
        provider.shutdown()
    assert [row["status"] for row in ledger_rows("system.aiq.calls")] == ["cancelled"] * 2


@pytest.mark.parametrize("fault", ["error-chunk", "cut", "half-close"])
def test_a_broken_stream_is_an_error_for_every_client(served: Served, fault: str) -> None:
    messages: list[Any] = [{"role": "user", "content": f"[[fault:{fault}]] one two three four five six seven eight"}]
    stream = served.openai().chat.completions.create(model="chat", messages=messages, stream=True)
    seen = []
    with pytest.raises(openai.APIError):
        for chunk in stream:
            seen.append(chunk)
    assert seen and not any(choice.finish_reason for chunk in seen for choice in chunk.choices)
    body = {"messages": messages, "stream": True}
    with served.http() as http, http.stream("POST", "/serving-endpoints/chat/invocations", json=body) as raw:
        lines: list[str] = []
        with pytest.raises(httpx.RemoteProtocolError):  # the connection is cut: MLflow's only sign
            lines.extend(raw.iter_lines())
        assert "[DONE]" not in "".join(lines)


@pytest.mark.parametrize(("fault", "status"), [("503", 503), ("400", 400), ("401", 500), ("html", 500)])
def test_a_stream_that_does_not_begin_is_a_whole_error(served: Served, fault: str, status: int) -> None:
    for stream in (True, False):
        body = {"messages": [{"role": "user", "content": f"[[fault:{fault}]] x"}], "stream": stream}
        with served.http() as http:
            reply = http.post("/serving-endpoints/chat/invocations", json=body, timeout=120)
        assert (reply.status_code, set(reply.json())) == (status, {"error_code", "message"}), reply.text
