"""Haraka with a plug-in that asks Redis at each RCPT, forwarding and proxying.

It is installed by npm into ``.bench/haraka``, its version and its Redis client's
pinned here.  One process, as one gateway worker is one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from bench.dataset import PLAIN
from bench.machine import CACHE, Missing, tool
from bench.participant import Participant

_VERSIONS = {"Haraka": "3.3.4", "redis": "6.3.1"}

_PLUGIN = """\
'use strict'
const { createClient } = require(%(redis)s)
exports.register = function () {
  this.redis = createClient({ socket: { path: %(socket)s } })
  this.redis.connect()
}
exports.hook_connect = (next, connection) => { connection.relaying = true; next() }
exports.hook_rcpt = function (next, connection, params) {
  this.redis.sIsMember(%(key)s, params[0].address.toLowerCase()).then(
    (found) => (found ? next(DENY, 'suppressed') : next(OK)),
    () => next(DENYSOFT))
}
"""


def _installed() -> Path:
    """Return the folder of node_modules; installs them once."""
    home = CACHE / "haraka"
    mark = home / "versions.json"
    if mark.exists() and json.loads(mark.read_text()) == _VERSIONS:
        return home / "node_modules"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "package.json").write_text("{}")
    print("installing Haraka, once", file=sys.stderr)
    try:
        subprocess.run(
            [
                *(tool("npm"), "install", "--no-audit", "--no-fund", "--omit=optional"),
                "--ignore-scripts",
                *(f"{name}@{version}" for name, version in _VERSIONS.items()),
            ],
            cwd=home,
            check=True,
            timeout=300,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except subprocess.SubprocessError:
        raise Missing("npm could not install it") from None
    # Which registry it came from is this machine's matter.
    (home / "package-lock.json").unlink(missing_ok=True)
    mark.write_text(json.dumps(_VERSIONS))
    return home / "node_modules"


class HarakaForward(Participant):
    """``queue/smtp_forward``: the whole message first, then on."""

    key = "haraka-forward"
    name = "Haraka, Redis plug-in, smtp_forward"
    queue: ClassVar[str] = "smtp_forward"

    def start(self) -> None:
        """Write its configuration and start it."""
        node = tool("node")
        modules = _installed()
        config, plugins = self.folder / "config", self.folder / "plugins"
        config.mkdir()
        plugins.mkdir()
        upstream = f"host=127.0.0.1\nport={self.place.upstream}\nenable_outbound=true\n"
        files = {
            "smtp.ini": f"listen=127.0.0.1:{self.port}\nnodes=0\n",
            "plugins": f"suppress\nqueue/{self.queue}\n",
            f"{self.queue}.ini": upstream,
            "log.ini": "level=error\n",
            "loglevel": "ERROR\n",
            "me": "haraka.example\n",
            "host_list": "bench.example\n",
        }
        for name, text in files.items():
            (config / name).write_text(text)
        # It has no defaults of its own for what stands in this file.
        shutil.copy(modules / "Haraka" / "config" / "connection.ini", config)
        (plugins / "suppress.js").write_text(
            _PLUGIN
            % {
                "redis": json.dumps(str(modules / "redis")),
                "socket": json.dumps(str(self.place.register.socket)),
                "key": json.dumps(PLAIN),
            }
        )
        process = self.spawn(
            *(node, modules / "Haraka" / "bin" / "haraka", "-c", self.folder),
            environment={**os.environ, "NODE_ENV": "production"},
        )
        try:
            self.ready(process)
        except Missing as error:
            raise Missing(f"{error}: {self.output().strip()[-300:]}") from None


class HarakaProxy(HarakaForward):
    """``queue/smtp_proxy``: each command handed on while the client waits."""

    key = "haraka-proxy"
    name = "Haraka, Redis plug-in, smtp_proxy"
    queue = "smtp_proxy"


HARAKA: tuple[type[Participant], ...] = (HarakaForward, HarakaProxy)
