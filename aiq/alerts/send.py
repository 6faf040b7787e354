"""Sends a notification to one destination: a webhook, a command, a mail, a file. Knows no alert.

What fails raises Undelivered, in words that hold no secret. Nothing is sent twice: whoever calls decides on that.
"""

from __future__ import annotations

import json
import os
import signal
import smtplib
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from urllib.parse import urlsplit

from aiq.alerts.notification import Notification, filled
from aiq.batch.loop import submit
from aiq.config.connections import Secret
from aiq.config.destinations import Command, Destination, File, Smtp, Webhook
from aiq.config.endpoint import Settings
from aiq.config.secret_hosts import check_secret
from aiq.errors import AiqError
from aiq.policy.addresses import NotPublic

TIMEOUT_S = 30.0
_MAX_SUBJECT = 250


class Undelivered(AiqError):
    """A notification did not reach its destination."""


def send(message: Notification, destination: Destination, settings: Settings, to: Sequence[str] = ()) -> None:
    """Sends it, and waits until it has arrived. `to` are mail addresses that an alert names. Raises Undelivered."""
    how = destination.to
    try:
        if isinstance(how, Webhook):
            _post(message, how, destination.name, settings)
        elif isinstance(how, Command):
            _run(message, how)
        elif isinstance(how, Smtp):
            _mail(message, how, destination.name, settings, to or how.to)
        else:
            _write(message, how)
    except Undelivered:
        raise
    except (AiqError, OSError, ValueError, smtplib.SMTPException) as error:
        raise Undelivered(_words(error)) from None


def _words(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return f"the mail server says {error.smtp_code} {said}".strip()[:300]
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"the mail server refuses {', '.join(error.recipients)}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _post(message: Notification, how: Webhook, name: str, settings: Settings) -> None:
    from aiq.transport.public_web import PublicWeb

    url = how.url.reveal().strip() if isinstance(how.url, Secret) else how.url
    host = (urlsplit(url).hostname or "").lower()
    secrets = [value for value in (how.url, *how.headers.values()) if isinstance(value, Secret)]
    for secret in secrets:
        check_secret(secret, url, name, settings)
    headers = {header: value.reveal() if isinstance(value, Secret) else value for header, value in how.headers.items()}
    body = message.as_json() if how.body is None else filled(how.body, message)
    listed = host in settings.webhook_hosts
    if settings.proxy is not None and not listed:
        raise Undelivered(
            f"webhooks go directly, not by a proxy, which would resolve their names; list {host} under webhook_hosts"
        )
    try:
        data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        sent = PublicWeb().post(url, data, headers, settings.ca_file, listed=listed, timeout_s=TIMEOUT_S)
        status = submit(sent).result()  # a notebook's own loop is running
    except NotPublic as error:
        raise Undelivered(
            f"the webhook's host {host} {error}; one inside has to be listed in conf/aiq.yml: webhook_hosts: [{host}]"
        ) from None
    except OSError as error:
        raise Undelivered(f"{host} cannot be reached: {error}") from None
    if 300 <= status < 400:
        raise Undelivered(f"{host} redirects, and a redirect is not followed; give the address that it leads to")
    if not 200 <= status < 300:
        raise Undelivered(f"{host} answers HTTP {status}")


def _run(message: Notification, how: Command) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIQ_SECRET_")}
    values = {f"AIQ_{name}": value.replace("\0", "")[:32_768] for name, value in message.values.items()}
    data = json.dumps(message.as_json(), ensure_ascii=False).encode("utf-8", "replace")
    process = subprocess.Popen(
        how.run,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**kept, **values, "AIQ_ALERT_SUMMARY": message.summary.replace("\0", "")},
        start_new_session=True,
    )
    try:
        _, complaint = process.communicate(data, how.timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise Undelivered(f"{how.run[0]} did not end within {how.timeout_s:g} s and was stopped") from None
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    if process.returncode:
        words = complaint.decode(errors="replace").strip().splitlines()
        raise Undelivered(f"{how.run[0]} ended with {process.returncode}{f': {words[-1][:200]}' if words else ''}")


def _mail(message: Notification, how: Smtp, name: str, settings: Settings, to: Sequence[str]) -> None:
    if not to:
        raise Undelivered("it has no `to`, and the alert names no mail address")
    if how.password is not None:
        scheme = "smtp" if how.security == "none" else "smtps"
        check_secret(how.password, f"{scheme}://{how.host}", name, settings)
    mail = EmailMessage()
    mail["Subject"] = "".join(c if c.isprintable() else " " for c in message.summary)[:_MAX_SUBJECT]
    mail["From"], mail["To"] = Address(addr_spec=how.sender), [Address(addr_spec=each) for each in to]
    mail["Date"] = message.time
    mail.set_content(message.text + "\n")
    if message.html is not None:
        mail.add_alternative(message.html, subtype="html")
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    with (
        smtplib.SMTP_SSL(how.host, how.port, timeout=TIMEOUT_S, context=context)
        if how.security == "tls"
        else smtplib.SMTP(how.host, how.port, timeout=TIMEOUT_S)
    ) as server:
        if how.security == "starttls":
            server.starttls(context=context)
        if how.user is not None:
            server.login(how.user, how.password.reveal() if how.password is not None else "")
        refused: Mapping[str, object] = server.send_message(mail)
    if refused:
        raise Undelivered(f"the mail server refuses {', '.join(refused)}; the others have it")


def _write(message: Notification, how: File) -> None:
    line = json.dumps(message.as_json(), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    descriptor = os.open(how.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
