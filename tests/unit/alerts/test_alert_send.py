"""Notifications arrive at webhooks, commands, mail servers and files, and what fails says so without a secret."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult

from aiq.alerts.evaluate import Evaluation
from aiq.alerts.notification import Notification, notification, unknown_names
from aiq.alerts.send import Undelivered, send
from aiq.config.load import load_config
from aiq.policy.addresses import NotPublic
from aiq.transport.public_web import PublicWeb
from tests.unit.alerts.conftest import Hook, Place, of_table

SECRET = "hunter2-not-to-be-seen"
EVIL = "{{ALERT_NAME}} <script>x</script>\r\nBcc: all@example.com"
ROWS = pa.table({"v": [EVIL, None], "w<": [1.5, 2.0]})
FOUND = Evaluation("TRIGGERED", EVIL, Decimal(10), rows=ROWS)
Send = Callable[..., None]


def said(**changes: Any) -> Notification:
    return notification(of_table(**changes), FOUND, "triggered", datetime(2026, 11, 30, 12, tzinfo=UTC))


@pytest.fixture
def send_to(place: Place, monkeypatch: pytest.MonkeyPatch) -> Send:
    """Sends to a destination as conf/aiq.yml has it."""
    monkeypatch.setenv("AIQ_SECRET_X_Y", SECRET)

    def send_to(how: dict[str, Any], what: Notification | None = None, to: tuple[str, ...] = (), **more: Any) -> None:
        place.settings(alert_destinations={"there": how}, **more)
        settings = load_config(place.conf, place.home).settings
        assert SECRET not in repr(settings)
        send(what or said(), settings.alert_destinations["there"], settings, to)

    return send_to


def test_a_webhook_gets_all_that_is_known(send_to: Send, hook: Hook) -> None:
    send_to({"webhook": {"url": hook.url}}, webhook_hosts=["127.0.0.1"])
    (post,) = hook.got
    assert post.body == {
        "alert_id": "high",
        "alert_name": "High",
        "state": "TRIGGERED",
        "reason": "triggered",
        "time": "2026-11-30T12:00:00+00:00",
        "column": "v",
        "condition": "v > 10",
        "threshold": "10",
        "value": EVIL,
        "summary": post.body["summary"],
        "text": post.body["summary"],
    }
    assert post.body["summary"] == (
        "High: TRIGGERED (v = {{ALERT_NAME}} <script>x</script> Bcc: all@example.com, alert at v > 10)"
    )
    assert post.headers["content-type"] == "application/json"


def test_its_body_headers_and_address_may_be_given(send_to: Send, hook: Hook) -> None:
    how = {
        "url": "{{secrets/x/url}}",
        "headers": {"Authorization": "{{secrets/x/y}}", "X-Team": "data"},
        "body": {
            "text": "{{ALERT_SUMMARY}}!",
            "blocks": [{"value": "{{ QUERY_RESULT_VALUE }}", "n": 3, "{{A}}": None}],
        },
    }
    os.environ["AIQ_SECRET_X_URL"] = hook.url
    try:
        send_to({"webhook": how}, webhook_hosts=["127.0.0.1"])
    finally:
        del os.environ["AIQ_SECRET_X_URL"]
    (post,) = hook.got
    assert post.body["text"].startswith("High: TRIGGERED") and post.body["text"].endswith("!")
    assert post.body["blocks"] == [{"value": EVIL, "n": 3, "{{A}}": None}]
    assert (post.headers["authorization"], post.headers["x-team"]) == (SECRET, "data")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "[::1]", "10.0.0.1", "169.254.169.254", "metadata.internal", "0x7f.1"],
)
def test_a_webhook_goes_inside_only_where_its_host_is_listed(send_to: Send, hook: Hook, host: str) -> None:
    with pytest.raises(Undelivered, match="webhook_hosts"):
        send_to({"webhook": {"url": f"https://{host}:{hook.server_port}/"}}, webhook_hosts=["elsewhere.internal"])
    assert hook.got == []


def test_a_public_name_that_leads_inside_is_not_followed(hook: Hook) -> None:
    async def inside(host: str, port: int) -> list[Any]:
        return [ip_address("127.0.0.1")]

    url = f"https://hooks.example.com:{hook.server_port}/"
    with pytest.raises(NotPublic, match="private or reserved"):
        asyncio.run(PublicWeb(inside).post(url, b"{}", {}, None, listed=False, timeout_s=5))
    assert hook.got == []


def test_plain_http_needs_a_listed_host(send_to: Send) -> None:
    with pytest.raises(Undelivered, match="not at an https address"):
        send_to({"webhook": {"url": "http://hooks.example.com/x"}})


def test_a_redirect_is_not_followed(send_to: Send, hook: Hook) -> None:
    hook.status, hook.location = 307, f"{hook.url}/other"
    with pytest.raises(Undelivered, match="a redirect is not followed"):
        send_to({"webhook": {"url": hook.url}}, webhook_hosts=["127.0.0.1"])
    assert len(hook.got) == 1


def test_what_a_webhook_refuses_shows_no_secret(send_to: Send, hook: Hook) -> None:
    hook.status = 403
    how = {"webhook": {"url": f"{hook.url}?token={SECRET}", "headers": {"Authorization": "{{secrets/x/y}}"}}}
    with pytest.raises(Undelivered) as failed:
        send_to(how, webhook_hosts=["127.0.0.1"])
    assert str(failed.value) == "127.0.0.1 answers HTTP 403"


def test_a_secret_goes_to_the_hosts_that_it_is_bound_to(send_to: Send, hook: Hook, place: Place) -> None:
    folder = place.home / "secrets" / "x"
    folder.mkdir(parents=True, mode=0o700)
    (place.home / "secrets").chmod(0o700)
    (folder / "y.hosts").write_text("chat.example.com")
    (folder / "y.hosts").chmod(0o600)
    how = {"webhook": {"url": hook.url, "headers": {"Authorization": "{{secrets/x/y}}"}}}
    with pytest.raises(Undelivered, match=r"bound to chat\.example\.com"):
        send_to(how, webhook_hosts=["127.0.0.1"])
    assert hook.got == []


def test_a_webhook_is_reached_from_inside_an_event_loop(send_to: Send, hook: Hook) -> None:
    async def cell() -> None:
        send_to({"webhook": {"url": hook.url}}, webhook_hosts=["127.0.0.1"])

    asyncio.run(cell())
    assert len(hook.got) == 1


def test_nobody_there_is_said(send_to: Send) -> None:
    with pytest.raises(Undelivered, match=r"127\.0\.0\.1 cannot be reached"):
        send_to({"webhook": {"url": "http://127.0.0.1:9/"}}, webhook_hosts=["127.0.0.1"])


def test_a_command_gets_json_and_names_and_no_secret(send_to: Send, place: Place) -> None:
    script = f'cat > {place.folder}/got.json; env > {place.folder}/env; echo "$0" > {place.folder}/word'
    send_to({"command": {"run": ["sh", "-c", script, "$(id); *"]}}, said(name="it's; $(touch x)"))
    assert json.loads((place.folder / "got.json").read_text())["alert_name"] == "it's; $(touch x)"
    found = (place.folder / "env").read_text()
    assert "AIQ_ALERT_NAME=it's; $(touch x)" in found and "AIQ_QUERY_RESULT_VALUE={{ALERT_NAME}} <script>" in found
    assert SECRET not in found
    assert (place.folder / "word").read_text() == "$(id); *\n"


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (["sh", "-c", "echo no line >&2; exit 7"], "sh ended with 7: no line"),
        (["no-such-program-4711"], "no-such-program-4711"),
    ],
)
def test_a_command_that_fails_says_why(send_to: Send, run: list[str], words: str) -> None:
    with pytest.raises(Undelivered, match=words):
        send_to({"command": {"run": run}})


def test_a_command_that_does_not_end_is_stopped_with_what_it_started(send_to: Send, place: Place) -> None:
    script = f"sleep 600 & echo $! > {place.folder}/pid; wait"
    with pytest.raises(Undelivered, match="did not end within"):
        send_to({"command": {"run": ["sh", "-c", script], "timeout_s": 0.3}})
    with pytest.raises(ProcessLookupError):  # as soon as its parent, which has been waited for, is gone
        pid = int((place.folder / "pid").read_text())
        for _ in range(100_000):
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                raise ProcessLookupError


def test_a_file_gets_a_line_and_belongs_to_its_user(send_to: Send, place: Place) -> None:
    for _ in range(2):
        send_to({"file": {"path": "log.jsonl"}})
    assert [line["value"] for line in place.lines()] == [EVIL, EVIL]
    assert stat.S_IMODE((place.conf / "log.jsonl").stat().st_mode) == 0o600


class Mailbox:
    """What a mail server has taken."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.refuses: set[str] = set()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refuses:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((envelope.rcpt_tos, mail))
        return "250 OK"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return ca, path


@pytest.fixture
def mail_server(authority: tuple[trustme.CA, Path]) -> Iterator[Callable[[bool], tuple[Mailbox, int]]]:
    """Starts a server with STARTTLS and a user, or with neither."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers = []

    def start(secure: bool) -> tuple[Mailbox, int]:
        box, options = Mailbox(), {}
        if secure:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            authority[0].issue_cert("127.0.0.1", "localhost").configure_cert(context)

            def known(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
                return AuthResult(success=(data.login, data.password) == (b"aiq", SECRET.encode()), handled=False)

            options = {"tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": known}
        serving = loop.create_server(lambda: SMTP(box, loop=loop, **options), "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(serving, loop).result()
        servers.append(server)
        return box, server.sockets[0].getsockname()[1]

    yield start
    for server in servers:
        loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def smtp(port: int, **more: Any) -> dict[str, Any]:
    return {"smtp": {"host": "127.0.0.1", "port": port, "from": "aiq@example.com", **more}}


def test_a_mail_arrives_encrypted_with_both_texts(
    send_to: Send, mail_server: Any, authority: tuple[trustme.CA, Path]
) -> None:
    box, port = mail_server(True)
    how = smtp(port, user="aiq", password="{{secrets/x/y}}", to=["a@example.com", "b@example.com"])
    what = said(
        summary="{{ALERT_NAME}} is {{ALERT_STATUS}}: {{QUERY_RESULT_VALUE}}",
        description="<p>Value &gt; limit: {{QUERY_RESULT_VALUE}}</p>{{QUERY_RESULT_TABLE}}",
    )
    send_to(how, what, ca_file=str(authority[1]))
    ((to, mail),) = box.mails
    assert to == ["a@example.com", "b@example.com"] and mail["To"] == "a@example.com, b@example.com"
    assert mail["Subject"].strip() == "High is TRIGGERED: {{ALERT_NAME}} <script>x</script> Bcc: all@example.com"
    assert mail["Bcc"] is None
    plain, marked = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None and marked is not None
    assert plain.get_content().startswith("Value > limit: {{ALERT_NAME}} <script>")
    words = marked.get_content()
    assert "<script" not in words and "&lt;script&gt;" in words and "<th>w&lt;</th>" in words
    assert "<td>NULL</td>" in words and "{{ALERT_NAME}}" in words


def test_a_wrong_password_or_certificate_is_said_without_the_password(
    send_to: Send, mail_server: Any, authority: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    box, port = mail_server(True)
    how = smtp(port, user="other", password="{{secrets/x/y}}", to=["a@example.com"])
    with pytest.raises(Undelivered, match="the mail server says 535") as failed:
        send_to(how, ca_file=str(authority[1]))
    assert SECRET not in str(failed.value)
    with pytest.raises(Undelivered, match="certificate verify failed"):
        send_to(how)
    assert box.mails == []


def test_addresses_of_an_alert_go_before_those_of_the_destination(send_to: Send, mail_server: Any) -> None:
    box, port = mail_server(False)
    send_to(smtp(port, security="none"), to=("c@example.com",))
    assert [to for to, _ in box.mails] == [["c@example.com"]]
    with pytest.raises(Undelivered, match="no `to`"):
        send_to(smtp(port, security="none"))
    box.refuses = {"d@example.com"}
    with pytest.raises(Undelivered, match=r"refuses d@example\.com"):
        send_to(smtp(port, security="none"), to=("c@example.com", "d@example.com"))


def test_a_password_is_not_sent_in_the_clear_beyond_this_machine(send_to: Send) -> None:
    how = {"smtp": {"host": "mail.example.com", "from": "a@b.c", "security": "none", "to": "x@y.z", "user": "u"}}
    how["smtp"]["password"] = "{{secrets/x/y}}"
    with pytest.raises(Undelivered, match="plain smtp"):
        send_to(how)


def test_markdown_has_its_own_names() -> None:
    what = said(markdown=True, summary="@ALERT_NAME {{ALERT_NAME}}", description="**@QUERY_RESULT_VALUE** a@b.c")
    assert what.summary == "High {{ALERT_NAME}}"
    assert what.text == f"**{EVIL}** a@b.c" and what.html is None


def test_names_that_are_none_are_found() -> None:
    assert unknown_names(of_table(summary="{{ALERT_NAM}} {{ALERT_NAME}} {{{ALERT_STATUS}}}")) == ["ALERT_NAM"]
    assert unknown_names(of_table(summary="@ALERT_NAM @ALERT_NAME", markdown=True)) == ["ALERT_NAM"]


def test_a_large_result_is_cut() -> None:
    rows = pa.table({"v": list(range(250))})
    what = notification(
        of_table(description="{{QUERY_RESULT_TABLE}}"),
        Evaluation("TRIGGERED", 1, rows=rows),
        "triggered",
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert what.text.splitlines()[-2:] == ["99", "(150 rows more)"]
