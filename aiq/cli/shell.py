"""`aiq shell`, and `aiq` alone on a terminal: statements one after the other, with history and completion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiq.cli.options import Conf, Dialect, Groups, Home, Quiet, Requester, UsageContext, WhoseSql, home_folder, tags_of

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings

    from aiq.cli.shell_commands import Shell

_GREETING = """\
aiq {version}, {dialect} SQL on {place}; {endpoints}. Statements end with a semicolon.
.help shows the commands, F2 explains what a statement would ask and cost, Tab completes, Ctrl-D leaves.
"""


def shell(
    db: Annotated[
        str | None, typer.Argument(help="A DuckDB file, made if need be. [default: in memory]", metavar="[DB]")
    ] = None,
    dialect: WhoseSql = Dialect.duckdb,
    conf: Conf = None,
    home: Home = None,
    user: Requester = None,
    group: Groups = None,
    usage_context: UsageContext = None,
    quiet: Quiet = False,
) -> None:
    """Type SQL with ai_query: history, completion, several lines, and commands that begin with a dot."""
    from aiq import __version__
    from aiq.cli.shell_commands import Shell
    from aiq.cli.stopping import is_terminated, stop_on_sigterm
    from aiq.engines.connect import connect

    groups, tags = group or None, tags_of(usage_context)
    with connect(
        db, conf=conf, home=home, user=user, groups=groups, usage_context=tags, dialect=dialect.value
    ) as session:
        stop_on_sigterm()
        session.settings = session.settings._replace(quiet=quiet or not session.gateway.config.settings.progress)
        ours = Shell(session, databricks=dialect is Dialect.databricks)
        known = len(session.gateway.config.endpoints)
        found = f"{known} endpoint{'' if known == 1 else 's'}" if known else "no endpoint yet: `aiq init` makes one"
        print(_GREETING.format(version=__version__, dialect=dialect.value, place=db or "memory", endpoints=found))
        reader = _reader(ours, home_folder(home))
        while True:
            try:
                text = reader.prompt("aiq> ")
            except KeyboardInterrupt:  # the line is given up
                text = ""
            except EOFError:
                return
            if not ours.run(text):
                return
            if is_terminated():
                raise KeyboardInterrupt


def _reader(shell: Shell, home: Path) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory

    from aiq.cli.shell_commands import COMMANDS
    from aiq.cli.shell_input import SqlCompleter

    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    history = home / "shell_history"
    os.close(os.open(history, os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))  # statements may hold data
    return PromptSession(
        history=FileHistory(str(history)),
        completer=SqlCompleter(COMMANDS, shell.endpoints, shell.names),
        complete_while_typing=False,
        multiline=True,
        prompt_continuation="...> ",
        key_bindings=_keys(shell),
    )


def _keys(shell: Shell) -> KeyBindings:
    """Enter runs what is complete, else begins a line; Escape and Enter run it in any case; F2 explains it."""
    from prompt_toolkit.filters import completion_is_selected
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from aiq.cli.shell_input import is_complete

    keys = KeyBindings()

    @keys.add("enter", filter=~completion_is_selected)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_complete(buffer.text, databricks=shell.databricks):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    @keys.add("f2")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.text.strip():
            shell.explain_next()
            buffer.validate_and_handle()

    return keys
