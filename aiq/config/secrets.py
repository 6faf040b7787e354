"""Secrets: `{{secrets/<scope>/<key>}}` references, and where their values are looked for.

Must never put a value into an error, a log or a `repr`. A value is looked up when it is first needed and kept
as long as the configuration that refers to it.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
import threading
from collections.abc import Mapping
from secrets import token_hex

from aiq.config.connections import Secret
from aiq.config.document import Node
from aiq.errors import SecretError

_REFERENCE = re.compile(r"\{\{\s*secrets/([^/{}]+)/([^/{}\s]+)\s*\}\}")
_NAME = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9_.@-]{0,127}")
_MAX_SECRET_BYTES = 64 * 1024
PLAINTEXT = "plaintext"
"""`Secret.source` of a value that stands in the file itself."""


class SecretStore:
    """Finds the values of references: environment, then files of the home folder, then the system keyring.

    The file is `<home>/secrets/<scope>/<key>`: one value, a line end after it is dropped, mode 0600, owned by
    the user. `home` is aiq's home folder. A keyring that asks its user is waited for `keyring_timeout_s`; one
    that did not answer is not asked again.
    """

    def __init__(
        self,
        home: str | os.PathLike[str],
        environ: Mapping[str, str] | None = None,
        keyring_timeout_s: float = 5.0,
    ) -> None:
        self._home = os.fspath(home)
        self._environ = os.environ if environ is None else environ
        self._keyring_timeout_s = keyring_timeout_s
        self._keyring_silent = False
        self._lock = threading.Lock()
        self._references: dict[str, set[str]] = {}
        """By the environment variable that they would be read from."""

    def reference(
        self,
        scope: str,
        key: str,
        *,
        file: str | None = None,
        line: int | None = None,
        field: str | None = None,
        document: bool = False,
    ) -> Secret:
        """The secret `scope`/`key`. `file`, `line` and `field`, for its errors: where it is referred to.

        A `document` may have several lines: it is never sent as it is.
        """
        found: list[str] = []
        self._references.setdefault(environment_variable(scope, key), set()).add(f"{scope}/{key}")

        def resolve() -> str:
            if not found:
                value, origin = self._find(scope, key, file, line, field)
                fault = _fault(value, document)
                if fault:
                    value = ""  # a traceback may show locals
                    raise SecretError(
                        f"secret {scope}/{key}, from {origin}, {fault}", file=file, line=line, field=field
                    )
                found.append(value)
            return found[0]

        def hosts() -> tuple[str, ...] | None:
            path = os.path.join(self._home, "secrets", scope, f"{key}.hosts")
            text = self._read_file(path, scope, file, line, field)
            return None if text is None else tuple(text.lower().split())

        return Secret(resolve, f"secrets/{scope}/{key}", hosts)

    def _read_file(self, path: str, scope: str, file: str | None, line: int | None, field: str | None) -> str | None:
        """The text of a private file, None where there is none. Raises SecretError for one that is not private."""
        try:
            _check_folders(os.path.join(self._home, "secrets"), scope)
            return _read_private_file(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except _UnsafeFile as error:
            raise SecretError(f"{error.path or path} {error}", file=file, line=line, field=field) from None
        except OSError as error:
            raise SecretError(f"{path} cannot be read: {error.strerror}", file=file, line=line, field=field) from None

    def _find(self, scope: str, key: str, file: str | None, line: int | None, field: str | None) -> tuple[str, str]:
        variable = environment_variable(scope, key)
        value = self._environ.get(variable)
        sharing = sorted(self._references[variable])
        if value is not None and len(sharing) > 1:
            raise SecretError(
                f"the secrets {' and '.join(sharing)} would all be read from {variable}. Give them names that "
                f"differ in more than signs and case, or unset it and write each to its file in {self._home}/secrets",
                file=file,
                line=line,
                field=field,
            )
        if value is not None:
            return value, f"the environment variable {variable}"
        path = os.path.join(self._home, "secrets", scope, key)
        value = self._read_file(path, scope, file, line, field)
        if value is not None:
            return value, path
        value, why_not = self._ask_keyring(f"aiq/{scope}", key)
        if value is not None:
            return value, "the system keyring"
        raise SecretError(
            f"secret {scope}/{key} was not found. Set the environment variable {variable}, or write it to "
            f"{path} (chmod 600), or store it in the system keyring: keyring set aiq/{scope} {key}"
            f"{f' ({why_not})' if why_not else ''}.",
            file=file,
            line=line,
            field=field,
        )

    def _ask_keyring(self, service: str, key: str) -> tuple[str | None, str]:
        """The value or None, and why the keyring could not be asked."""
        answers: list[tuple[str | None, str]] = []

        def ask() -> None:
            try:
                keyring = importlib.import_module("keyring")
            except ImportError:
                answers.append((None, "needs the package keyring: pip install 'aiq[keyring]'"))
                return
            try:
                if getattr(keyring.get_keyring(), "priority", 1) <= 0:
                    answers.append((None, "this system has no keyring"))
                    return
                value = keyring.get_password(service, key)
                answers.append((value if isinstance(value, str) else None, ""))
            except Exception as error:
                # Its text may hold anything, so only its kind is shown.
                answers.append((None, f"the keyring failed: {type(error).__name__}"))

        silent = (None, "the keyring did not answer")
        with self._lock:
            if self._keyring_silent:
                return silent
            # A backend may open a dialog that no person sees; a daemon thread can be left behind.
            thread = threading.Thread(target=ask, name="aiq-keyring", daemon=True)
            thread.start()
            thread.join(self._keyring_timeout_s)
            if not answers:
                self._keyring_silent = True
                return silent
            return answers[0]


class _UnsafeFile(Exception):
    """A secret's file, or the folder `path` of it, that must not be trusted. The text says what to do."""

    def __init__(self, words: str, path: str = "") -> None:
        super().__init__(words)
        self.path = path


def _check_folders(folder: str, scope: str) -> None:
    """Raises _UnsafeFile where others could put a secret of theirs in the place of the user's."""
    for place in (folder, os.path.join(folder, scope)):
        status = os.lstat(place)
        if stat.S_ISLNK(status.st_mode):
            raise _UnsafeFile("must be a folder, not a link: what it leads to may be changed by others", place)
        if os.name != "posix":
            continue
        if status.st_uid != os.geteuid():
            raise _UnsafeFile(f"belongs to another user: chown {os.geteuid()} {place}, then chmod 700 {place}", place)
        if status.st_mode & 0o022:
            raise _UnsafeFile(f"can be written by others: look at what is in it, then chmod 700 {place}", place)


def _read_private_file(path: str) -> str:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    if os.path.islink(path):
        raise _UnsafeFile("must be a regular file, not a link")
    with open(os.open(path, flags), "rb") as file:
        # Checked on the open file: the name could be given to another one in between.
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _UnsafeFile("must be a regular file")
        if os.name == "posix":
            if status.st_uid != os.geteuid():
                raise _UnsafeFile(f"belongs to another user: chown {os.geteuid()} {path}, then chmod 600 {path}")
            if status.st_mode & 0o077:
                raise _UnsafeFile(f"can be read by others: chmod 600 {path}")
        data = file.read(_MAX_SECRET_BYTES + 1)
    if len(data) > _MAX_SECRET_BYTES:
        raise _UnsafeFile("is larger than 64 KiB")
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _UnsafeFile("is not UTF-8 text") from None


def keep_secret(home: str | os.PathLike[str], scope: str, name: str, value: str) -> tuple[str, str]:
    """Writes a value to a new file of the home's secrets; returns the key that refers to it, and the file.

    The key begins with `name` and is new each time, so that what refers to the former value goes on.
    Raises SecretError for a value that cannot be sent, and for a folder that is not private.
    """
    if fault := _fault(value, document="\n" in value):
        value = ""  # a traceback may show locals
        raise SecretError(fault, field=name)
    folder = os.path.join(home, "secrets", scope)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for each in (os.path.join(home, "secrets"), folder):
        os.chmod(each, 0o700)
    key = f"{re.sub(r'[^A-Za-z0-9_-]', '-', name)[:100]}-{token_hex(6)}"
    path = os.path.join(folder, key)
    try:
        _check_folders(os.path.join(home, "secrets"), scope)
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(value)
    except _UnsafeFile as error:
        raise SecretError(f"{error.path or path} {error}") from None
    except OSError as error:
        raise SecretError(f"{path} cannot be written: {error.strerror}") from None
    return key, path


def environment_variable(scope: str, key: str) -> str:
    """`AIQ_SECRET_<SCOPE>_<KEY>`: upper case, everything that is not a letter or digit becomes `_`."""
    return "AIQ_SECRET_" + re.sub(r"[^A-Z0-9]", "_", f"{scope}_{key}".upper())


def unsafe_characters(value: str) -> str:
    """What is wrong with a secret's value, or "". A line end would let it write further HTTP headers."""
    if not value:
        return "is empty"
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        return "contains a line end or another control character"
    if not value.isascii():
        return "contains a character that an HTTP header cannot carry (not ASCII)"
    return ""


def _fault(value: str, document: bool) -> str:
    if document:
        return "" if value.strip() else "is empty"
    return unsafe_characters(value)


def read_reference(node: Node, store: SecretStore, plaintext_field: str, *, document: bool = False) -> Secret:
    """A `{{secrets/<scope>/<key>}}` value. `plaintext_field` is the field that takes a plain value."""
    text = node.text()
    match = _REFERENCE.fullmatch(text.strip())
    if match is None:
        if "{{" in text or text.startswith("secrets/"):
            node.fail("is not a secret reference: expected {{secrets/<scope>/<key>}}")
        node.fail(
            "expected a secret reference {{secrets/<scope>/<key>}}; a plain value goes into the field "
            f"{plaintext_field}"
        )
    scope, key = match.groups()
    for part in (scope, key):
        if not _NAME.fullmatch(part):
            node.fail(
                "scope and key of {{secrets/<scope>/<key>}} take letters, digits, - _ @ and ., "
                "at most 128, and do not start with a dot"
            )
    return store.reference(scope, key, file=node.file, line=node.line, field=node.field, document=document)


def read_secret(
    parent: Node, members: dict[str, Node], name: str, store: SecretStore, *, document: bool = False
) -> Secret | None:
    """The secret of `name` (a reference) or `name_plaintext` (the value); None when neither is given.

    A `document` may have several lines: it is never sent as it is.
    """
    plaintext_field = f"{name}_plaintext"
    node, plain = members.get(name), members.get(plaintext_field)
    if node is not None and plain is not None:
        plain.fail(f"give exactly one of {name} and {plaintext_field}")
    if node is not None:
        return read_reference(node, store, plaintext_field, document=document)
    if plain is None:
        return None
    value = plain.text()
    if _REFERENCE.fullmatch(value.strip()):
        plain.fail(f"holds a secret reference, which goes into the field {name}")
    fault = _fault(value, document)
    if fault:
        value = ""  # a traceback may show locals
        raise SecretError(fault, file=plain.file, line=plain.line, field=plain.field)
    return Secret(lambda: value, PLAINTEXT)
