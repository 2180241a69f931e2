"""What docker-compose.yml makes, from a fresh clone: started as README.md says, and taken down with all it made."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.server import ROOT

ENGINE_NEEDED = [pytest.mark.docker, pytest.mark.timeout(900)]
"""The marks of every module of tests here."""

WITHIN = 600.0
"""Seconds that one command may take; the first one downloads and builds."""

OURS = re.compile(r"PARLEY_|REDIS_|COMPOSE_|PUBLISH$|STOP_GRACE_PERIOD$|REQUIREMENTS$")
"""What compose and Parley read: whoever runs the tests may have set some of it."""


class Deployment:
    """A clone of this repository in `folder`, and the containers of a compose project of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "parley"
        self.port = 0
        inherited = {name: value for name, value in os.environ.items() if not OURS.match(name)}
        self.env = inherited | {
            "COMPOSE_PROJECT_NAME": f"parley-test-{secrets.token_hex(4)}",
            "PUBLISH": "127.0.0.1:0",
        }
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.folder)], check=True)  # noqa: S607

    def start(self) -> None:
        """Run the commands of README.md under `Deploying`."""
        readme = (self.folder / "README.md").read_text().partition("## Deploying")[2]
        self.do(readme, "sh")
        self.find_port()

    def find_port(self) -> None:
        """Learn the port that the engine gave the load balancer, a new one for each container."""
        self.port = int(self.compose("port", "balancer", "8000").rpartition(":")[2])

    def operate(self, task: str) -> None:
        """Run the commands of docs/operations.md for a task, the second word of their block."""
        self.do((self.folder / "docs" / "operations.md").read_text(), f"sh {task}")

    def do(self, page: str, block: str) -> None:
        """Run the commands in the first block of a page that begins so."""
        script = re.search(rf"^```{block}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        assert script is not None, f"no block {block}"
        self.run("sh", "-ec", script[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def close(self) -> None:
        """Take all of it down: containers, networks, volumes, and the image that was built."""
        self.compose("down", "--volumes", "--remove-orphans", "--rmi", "local")

    def compose(self, *args: str) -> str:
        """What `docker compose …` prints. Fails if it does."""
        return self.run("docker", "compose", *args)

    def run(self, *command: str) -> str:
        """What a command in the clone prints. Fails if it does."""
        done = self.attempt(*command)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def attempt(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """A command in the clone, whatever it ends with."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )

    # ---- its containers

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers that run."""
        return self.compose("ps", "--quiet", service).split()

    def execute(self, container: str, script: str) -> str:
        """What a shell in a container prints, as the user that its service runs as. Fails if it does."""
        return self.run("docker", "exec", container, "sh", "-c", script)

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        (found,) = json.loads(self.run("docker", "inspect", container))
        return dict(found)

    def healthy(self, service: str) -> int:
        """How many containers of a service are healthy."""
        return sum(self.inspect(each)["State"]["Health"]["Status"] == "healthy" for each in self.containers(service))

    def now(self) -> str:
        """The time, as `exit_codes` takes it."""
        return self.run("date", "+%s.%N")

    def exit_codes(self, service: str, since: str) -> list[str]:
        """What the processes of a service have ended with since then."""
        labels = {"project": self.env["COMPOSE_PROJECT_NAME"], "service": service}
        filters = ["event=die", *(f"label=com.docker.compose.{name}={value}" for name, value in labels.items())]
        chosen = [part for each in filters for part in ("--filter", each)]
        code = "{{.Actor.Attributes.exitCode}}"
        return self.run("docker", "events", "--since", since, "--until", self.now(), "--format", code, *chosen).split()

    # ---- its users

    def secret(self, name: str) -> str:
        """A variable of its .env."""
        found = re.search(rf"^{name}=(.+)$", (self.folder / ".env").read_text(), re.MULTILINE)
        assert found is not None
        return found[1]

    def token(self, user: str) -> str:
        """A token that lets a user in for an hour."""
        claims = {"sub": user, "exp": int(time.time()) + 3600}
        return jwt.encode(claims, self.secret("PARLEY_AUTH_JWT_SECRET"), "HS256")
