"""Endpoints made, changed and deleted over REST by the Databricks SDK: as files, which all other readers read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import (
    InvalidParameterValue,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from databricks.sdk.service.serving import (
    AiGatewayRateLimit,
    AiGatewayRateLimitKey,
    AiGatewayRateLimitRenewalPeriod,
    AiGatewayUsageTrackingConfig,
    EndpointCoreConfigInput,
    EndpointTag,
    ExternalModel,
    ExternalModelProvider,
    OpenAiConfig,
    Route,
    ServedEntityInput,
    ServingEndpointAccessControlRequest,
    ServingEndpointPermissionLevel,
    TrafficConfig,
)

from aiq.config.load import load_config
from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder
from tests.contract.test_serve_clients import SAID, Served, serving

KEY = "sk-very-secret"


@pytest.fixture
def conf_folder(tmp_path: Path, make_conf: Callable[[Path, str], ConfFolder], simulator_process: Any) -> ConfFolder:
    made = make_conf(tmp_path / "conf", simulator_process.url)
    made.endpoint("chat")
    return made


@pytest.fixture
def served(conf_folder: ConfFolder, tmp_path: Path) -> Iterator[Served]:
    with serving(conf_folder.path, tmp_path / "home") as running:
        running.token = running.tokens.create("boss@example.com", ["admins"])
        yield running


def entity(simulator: SimulatorProcess, name: str = "main", model: str = "gpt-4o-mini") -> ServedEntityInput:
    config = OpenAiConfig(openai_api_key_plaintext=KEY, openai_api_base=f"{simulator.url}/v1")
    external = ExternalModel(
        name=model, provider=ExternalModelProvider.OPENAI, task="llm/v1/chat", openai_config=config
    )
    return ServedEntityInput(name=name, external_model=external)


def limit(calls: int) -> AiGatewayRateLimit:
    minute = AiGatewayRateLimitRenewalPeriod.MINUTE
    return AiGatewayRateLimit(calls=calls, key=AiGatewayRateLimitKey.ENDPOINT, renewal_period=minute)


def test_an_endpoint_lives_and_ends_over_rest(
    served: Served, simulator_process: SimulatorProcess, conf_folder: ConfFolder
) -> None:
    client = served.databricks().serving_endpoints
    core = EndpointCoreConfigInput(name="made", served_entities=[entity(simulator_process)])
    made = client.create_and_wait("made", config=core, tags=[EndpointTag("team", "search")])
    assert made.name == "made" and made.config is not None and made.config.config_version == 1
    with served.http() as http:
        assert http.post("/serving-endpoints/made/invocations", json={"messages": SAID}).status_code == 200
        assert KEY not in http.get("/api/2.0/serving-endpoints/made").text
        assert "secrets/" not in http.get("/api/2.0/serving-endpoints").text
    file = conf_folder.path / "endpoints" / "made.yml"
    assert KEY not in file.read_text()
    (kept,) = (served.home / "secrets" / "serving-endpoints").iterdir()
    assert kept.read_text() == KEY and kept.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ResourceAlreadyExists):
        client.create("made", config=core)

    two = [entity(simulator_process), entity(simulator_process, "second")]
    routes = [
        Route(traffic_percentage=share, served_entity_name=name) for name, share in (("main", 30), ("second", 70))
    ]
    changed = client.update_config_and_wait("made", served_entities=two, traffic_config=TrafficConfig(routes=routes))
    assert changed.config is not None and changed.config.config_version == 2
    assert [each.name for each in changed.config.served_entities or []] == ["main", "second"]
    assert len(list((served.home / "secrets" / "serving-endpoints").iterdir())) == 2  # the first key is gone

    limits = [limit(1)]
    gateway = client.put_ai_gateway(
        "made", rate_limits=limits, usage_tracking_config=AiGatewayUsageTrackingConfig(True)
    )
    assert gateway.rate_limits is not None and gateway.rate_limits[0].calls == 1
    with served.http() as http:
        codes = [http.post("/serving-endpoints/made/invocations", json={"messages": SAID}).status_code for _ in "ab"]
    assert codes == [200, 429]
    assert not client.put_ai_gateway("made").rate_limits  # nothing given: nothing left
    assert not client.get("made").as_dict().get("ai_gateway", {}).get("rate_limits")

    tags = client.patch("made", add_tags=[EndpointTag("cost", "7")], delete_tags=["team"])
    assert tags.tags is not None and [(tag.key, tag.value) for tag in tags.tags] == [("cost", "7")]
    loaded = load_config(conf_folder.path, served.home).endpoints["made"]  # what any other reader makes of it
    assert loaded.tags == (("cost", "7"),) and loaded.config_version == 2
    client.delete("made")
    assert not file.exists() and not list((served.home / "secrets" / "serving-endpoints").iterdir())
    with pytest.raises(ResourceDoesNotExist):
        client.get("made")


def test_permissions_hold_at_once(served: Served, simulator_process: SimulatorProcess) -> None:
    client = served.databricks().serving_endpoints
    core = EndpointCoreConfigInput(name="p", served_entities=[entity(simulator_process)])
    made = client.create("p", config=core).response
    assert made is not None and made.id is not None
    levels = ServingEndpointPermissionLevel
    grant = ServingEndpointAccessControlRequest
    client.set_permissions(made.id, access_control_list=[grant(user_name="a@x", permission_level=levels.CAN_MANAGE)])
    extra = [grant(group_name="crew", permission_level=levels.CAN_VIEW)]
    listed = client.update_permissions(made.id, access_control_list=extra).access_control_list or []
    assert {each.user_name or each.group_name for each in listed} == {"a@x", "crew"}

    manager = served.tokens.create("a@x", ["crew"])
    viewer = served.tokens.create("b@x", ["crew"])
    stranger = served.tokens.create("c@x")
    with served.http(stranger) as http:
        assert http.get("/api/2.0/serving-endpoints/p").status_code == 404
        assert http.post("/serving-endpoints/p/invocations", json={"messages": SAID}).status_code == 403
    as_viewer = WorkspaceClient(host=served.url, token=viewer, auth_type="pat").serving_endpoints
    assert as_viewer.get("p").name == "p"
    with pytest.raises(PermissionDenied, match="CAN_MANAGE"):
        as_viewer.patch("p", delete_tags=["x"])
    with pytest.raises(PermissionDenied, match="admins"):
        as_viewer.create("q", config=EndpointCoreConfigInput(name="any", served_entities=[entity(simulator_process)]))

    as_manager = WorkspaceClient(host=served.url, token=manager, auth_type="pat").serving_endpoints
    as_manager.put_ai_gateway("p", rate_limits=[limit(5)])
    stolen = entity(simulator_process)
    assert stolen.external_model is not None and stolen.external_model.openai_config is not None
    stolen.external_model.openai_config = OpenAiConfig(
        openai_api_key="{{secrets/openai/api_key}}", openai_api_base="https://evil.example.com/v1"
    )
    with pytest.raises(PermissionDenied, match="own key"):
        as_manager.update_config("p", served_entities=[stolen])
    as_manager.update_config("p", served_entities=[entity(simulator_process, model="gpt-4.1-mini")])


HAND_WRITTEN = """\
# Our endpoints. Ask Ada before you change this.
resources:
  model_serving_endpoints:
    first:
      name: first  # the old one
      config:
        served_entities:
          - name: main
            external_model:
              name: "gpt-4o-mini"
              provider: openai
              task: llm/v1/chat
              openai_config: {openai_api_base: "URL/v1", openai_api_key_plaintext: sk-test}
      ai_gateway:
        rate_limits:
          - {calls: 100, key: endpoint, renewal_period: minute}  # for everybody
        aiq: {rate_limits: [{cost_usd: 5, key: endpoint, renewal_period: day}]}
    second:
      name: second
      config:
        served_entities:
          - external_model:
              name: gpt-4o
              provider: openai
              task: llm/v1/chat
              openai_config: {openai_api_base: "URL/v1", openai_api_key_plaintext: sk-test}
"""


def test_a_file_that_people_wrote_keeps_their_words(
    served: Served, simulator_process: SimulatorProcess, conf_folder: ConfFolder
) -> None:
    text = HAND_WRITTEN.replace("URL", simulator_process.url)
    file = conf_folder.path / "endpoints" / "ours.yml"
    file.write_text(text)
    client = served.databricks().serving_endpoints
    client.put_ai_gateway("first", rate_limits=[limit(7)])
    client.patch("first", add_tags=[EndpointTag("a", "b")])
    now = file.read_text()
    assert "# Our endpoints. Ask Ada before you change this." in now and "# the old one" in now
    assert "calls: 7" in now and "cost_usd: 5" in now  # what Databricks has no word for stays
    client.delete("second")
    assert "# the old one" in file.read_text() and "second" not in file.read_text()
    assert list(load_config(conf_folder.path, served.home).endpoints) == ["chat", "first"]
    client.delete("first")
    assert not file.exists()


def test_what_cannot_be_read_is_not_written(
    served: Served, simulator_process: SimulatorProcess, conf_folder: ConfFolder
) -> None:
    client = served.databricks().serving_endpoints
    before = sorted(path.name for path in (conf_folder.path / "endpoints").glob("*.yml"))
    core = EndpointCoreConfigInput(name="any", served_entities=[entity(simulator_process)])
    for name in ("a b", "../evil", "x" * 64, ".hidden", "a/b"):
        with pytest.raises(InvalidParameterValue):
            client.create(name, config=core)
    with served.http() as http:
        path = "/api/2.0/serving-endpoints"
        for wrong in (
            {},
            {"name": 5},
            {"name": "x"},
            {"name": "x", "config": []},
            {"name": "x", "config": {"served_entities": []}},
            {"name": "x", "config": {"served_entities": [{"external_model": {"name": "m", "provider": "nobody"}}]}},
            {"name": "x", "config": {"served_entities": "x"}, "route_optimized": True},
            {"name": "x", "config": {"served_entities": [{"name": "a", "openai_api_key_plaintext": "a\nb"}]}},
        ):
            reply = http.post(path, json=wrong)
            assert (reply.status_code, set(reply.json())) == (400, {"error_code", "message"}), reply.text
            assert "/tmp" not in reply.text and "a\\nb" not in reply.text
        for method, below, body in (
            ("PUT", "config", {"served_entities": "x"}),
            ("PUT", "ai-gateway", {"rate_limits": [{"calls": -1}]}),
            ("PUT", "ai-gateway", {"rate_limit": []}),
            ("PATCH", "tags", {"add_tags": ["x"]}),
            ("PATCH", "tags", {"add_tags": [{"key": "", "value": "x"}]}),
            ("PATCH", "notifications", {"email_notifications": {"on_update_success": ["a@x"]}}),
        ):
            reply = http.request(method, f"{path}/chat/{below}", json=body)
            assert (reply.status_code, set(reply.json())) == (400, {"error_code", "message"}), (below, reply.text)
        reply = http.put(
            "/api/2.0/permissions/serving-endpoints/chat", json={"access_control_list": [{"user_name": "a"}]}
        )
        assert reply.status_code == 400
        assert http.put(f"{path}/chat/nonsense", json={}).status_code == 404
        assert http.post("/serving-endpoints/chat/invocations", json={"messages": SAID}).status_code == 200
    assert sorted(path.name for path in (conf_folder.path / "endpoints").glob("*.yml")) == before
    kept = served.home / "secrets" / "serving-endpoints"
    assert not kept.exists() or not list(kept.iterdir())


def test_of_many_writers_at_once_none_is_lost(served: Served, conf_folder: ConfFolder) -> None:
    codes: list[int] = []

    def write(number: int) -> None:
        with served.http() as http:
            body = {"add_tags": [{"key": f"k{number}", "value": "v"}]}
            codes.append(http.patch("/api/2.0/serving-endpoints/chat/tags", json=body).status_code)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {200, 409} and 200 in codes
    tags = load_config(conf_folder.path, served.home).endpoints["chat"].tags
    assert len(tags) <= codes.count(200)


def test_a_read_only_server_names_the_file(
    conf_folder: ConfFolder, tmp_path: Path, simulator_process: SimulatorProcess
) -> None:
    with serving(conf_folder.path, tmp_path / "home", "--read-only") as running:
        token = running.tokens.create("boss@example.com", ["admins"])
        with running.http(token) as http:
            replies: list[httpx.Response] = [
                http.delete("/api/2.0/serving-endpoints/chat"),
                http.post("/api/2.0/serving-endpoints", json={"name": "x"}),
            ]
    assert [(each.status_code, each.json()["error_code"]) for each in replies] == [(403, "PERMISSION_DENIED")] * 2
    assert "chat.yml" in replies[0].text
