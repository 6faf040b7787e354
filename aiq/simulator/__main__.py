"""`python -m aiq.simulator`: a simulated provider in a process of its own.

With `--child` it takes its profile as one JSON line on standard input, says where it listens as one JSON
line on standard output, and stops when standard input ends, so that it never outlives its parent.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from aiq.errors import ConfigError
from aiq.simulator.profile import Profile, profile_file
from aiq.simulator.server import run


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status (0, or 2 when the profile or the port is wrong)."""
    parser = argparse.ArgumentParser(prog="python -m aiq.simulator", description=__doc__)
    parser.add_argument("--port", type=int, help="0 takes a free port; default: the profile's")
    parser.add_argument("--host", help="default: the profile's, else 127.0.0.1")
    parser.add_argument("--profile", help="a YAML file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        if options.child:
            profile = Profile.from_dict(json.loads(_read_line(0)))
        else:
            profile = Profile.load(profile_file(Path(options.profile))) if options.profile else Profile()
        if options.host:
            profile = replace(profile, host=options.host)

        def say(port: int) -> None:
            url = f"http://{profile.host}:{port}"
            print(json.dumps({"port": port}) if options.child else f"Simulating on {url}", flush=True)

        run(profile, options.port, say, until_eof_of=0 if options.child else None)
    except ConfigError as error:
        print(json.dumps({"error": error.reason}) if options.child else error, flush=True)
        return 2
    return 0


def _read_line(pipe: int) -> bytes:
    """One line, read byte by byte: a buffered reader could swallow the end of the pipe."""
    line = bytearray()
    while (byte := os.read(pipe, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


if __name__ == "__main__":
    sys.exit(main())
