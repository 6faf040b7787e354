"""Links in a request: which are found, how they are shown, and what takes their place."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiq.policy.addresses import NotPublic
from aiq.policy.image_urls import check_public, has_parts, image_links, links, shown, with_data

LINK = "https://example.com/a.png"
DATA = "data:image/png;base64,AAAA"


def chat(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": list(parts)}], "n": 1}


@pytest.mark.parametrize(
    "body",
    [
        chat({"type": "image_url", "image_url": {"url": LINK, "detail": "low"}}),
        chat({"type": "image_url", "image_url": LINK}),
        chat({"type": "video_url", "video_url": {"url": LINK}}),
        chat({"type": "input_file", "file_url": LINK}),
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": LINK}]}]},
        chat({"type": "input_file", "file": {"file_data": LINK}}),
        chat({"type": "document", "source": {"type": "url", "url": LINK}}),
        chat({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": LINK}}]}),
        chat({"fileData": {"mimeType": "image/png", "fileUri": LINK}}),
    ],
)
def test_links_are_found_wherever_a_provider_would_follow_them(body: dict[str, Any]) -> None:
    assert has_parts(body)
    assert links(body) == [LINK]


@pytest.mark.parametrize("value", [LINK, {"url": LINK, "detail": "low"}])
def test_an_image_takes_the_place_of_its_link(value: Any) -> None:
    body = chat({"type": "text", "text": LINK}, {"type": "image_url", "image_url": value})
    assert image_links(body) == [LINK]
    replaced = with_data(body, {LINK: DATA})
    assert links(replaced) == [] and DATA in str(replaced) and LINK in str(replaced)
    assert links(body) == [LINK]  # which stays as it is


def test_links_to_files_are_not_taken_for_images() -> None:
    body = chat({"type": "input_file", "file_url": LINK})
    assert image_links(body) == []
    assert with_data(body, {LINK: DATA}) == body


def test_what_only_looks_like_a_field_of_links_is_none() -> None:
    assert links(chat({"type": "file", "file": {"file_data": "JVBERi0xLjQ="}}, {"type": "x", "uri": "a-name"})) == []


def test_a_link_is_found_however_deep_it_stands_or_the_request_is_refused() -> None:
    part: Any = {"url": "http://127.0.0.1/"}
    for _ in range(20):
        part = {"source": part}
    with pytest.raises(NotPublic, match="too deep"):
        links(chat(part))


@pytest.mark.parametrize("url", [DATA, "gs://bucket/a.png", "S3://bucket/a.png"])
def test_data_and_cloud_storage_are_no_links(url: str) -> None:
    assert links(chat({"type": "image_url", "image_url": {"url": url}})) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "//127.0.0.1/a", " http://127.0.0.1/", "HTTP://127.1", "x"])
def test_whatever_else_stands_there_is_a_link_and_must_be_public(url: str) -> None:
    assert links(chat({"type": "image_url", "image_url": {"url": url}})) == [url]
    with pytest.raises(NotPublic):
        check_public(url)


@pytest.mark.parametrize(
    "body", [{"messages": [{"role": "user", "content": "Hi"}]}, {"input": "Hi"}, {"prompt": "x"}, {}]
)
def test_a_request_of_texts_has_no_parts(body: dict[str, Any]) -> None:
    assert not has_parts(body)
    assert links(body) == []


def test_a_malformed_message_hides_no_other() -> None:
    body = {"messages": ["x", None, *chat(5, {"type": "image_url", "image_url": LINK})["messages"]]}
    assert has_parts(body)
    assert links(body) == [LINK]


def test_a_text_about_a_link_is_no_link() -> None:
    assert links(chat({"type": "text", "text": "http://127.0.0.1/"})) == []


def test_what_is_shown_of_a_link_holds_no_secret() -> None:
    assert shown("https://u:pw@h.example/a.png?sig=secret#x") == "h.example/a.png"
    assert shown("https://h.example/\n\x00" + "a" * 200).endswith("…")
    assert "\n" not in shown("https://h.example/\n")


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["content", "image_url", "url", "file_url", "text"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["messages", "input", "n"]), JSON))
def test_no_body_makes_it_fail(body: dict[str, Any]) -> None:
    has_parts(body)
    with contextlib.suppress(NotPublic):
        with_data(body, {url: DATA for url in links(body) + image_links(body)})
