"""Every kubectl of this machine, and one of them against a lab."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Lab
from tests.kubectl_programs import installed, version_of

GOLDENS = Path(__file__).parent.parent / "goldens" / "kubectl"


@dataclass(frozen=True)
class Kubectl:
    """One version of kubectl in a namespace of its own. Calling it returns what it printed on standard output."""

    program: Path
    version: tuple[int, int]
    namespace: str
    environment: dict[str, str]
    folder: Path
    """Where it runs: for files to apply and to copy."""

    def __repr__(self) -> str:
        return f"kubectl {self.version[0]}.{self.version[1]}"

    def argv(self, *arguments: str) -> list[str]:
        return [str(self.program), "--namespace", self.namespace, *arguments]

    def run(
        self, *arguments: str, code: int = 0, given: str = "", timeout_s: float = 40, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment | environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        said = f"{self!r} {' '.join(arguments)} → {result.returncode}\n{result.stdout}{result.stderr}"
        assert result.returncode == code, said
        return result

    def __call__(self, *arguments: str, code: int = 0, given: str = "", **environment: str) -> str:
        return self.run(*arguments, code=code, given=given, **environment).stdout

    def refused(self, *arguments: str, code: int = 1, given: str = "") -> str:
        """Return the error of a command that must fail."""
        return self.run(*arguments, code=code, given=given).stderr

    def json(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("get", *arguments, "-o", "json"))
        return found

    def path(self, resource: str, path: str) -> str:
        """Return a JSONPath of one object."""
        return self("get", *resource.split(), "-o", f"jsonpath={path}")

    def apply(self, manifest: str, *arguments: str) -> list[str]:
        """Apply a manifest given as text and return the lines said."""
        return self("apply", "-f", "-", *arguments, given=manifest).splitlines()

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command that runs on; its errors come with its output."""
        with subprocess.Popen(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextlib.contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[str]:
        """The URL at which `target` is reached while port-forward runs."""
        with self.started("port-forward", target, f":{port}") as process:
            line = first(process, "Forwarding from 127.0.0.1")
            yield f"http://127.0.0.1:{line.split(':')[1].split()[0]}"

    def on_terminal(self, *arguments: str) -> tuple[int, str]:
        """Run a command on a terminal of its own; return its exit code and what it printed there."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            self.argv(*arguments), cwd=self.folder, env=self.environment, stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            said = b""
            with contextlib.suppress(OSError):  # EIO: the last one closed the terminal
                while chunk := os.read(ours, 4096):
                    said += chunk
            os.close(ours)
            return process.wait(20), said.decode()


def of(lab: Lab, version: str, folder: Path) -> Kubectl:
    """Return the kubectl of a version, or skip the test with what was found instead."""
    program = installed().get(version)
    if program is None:
        pytest.skip(f"no kubectl {version} on this machine, only {', '.join(sorted(installed())) or 'none'}")
    known = version_of(program) if version == "PATH" else version
    major, minor = known.split(".")
    # A home of its own: discovery is cached there, and nobody's settings interfere.
    environment = lab.environment | {"HOME": str(folder), "EDITOR": "false", "KUBE_EDITOR": ""}
    del environment["KUBE_EDITOR"]
    name = f"k{version.replace('.', '').lower()}"
    return Kubectl(program, (int(major), int(minor)), name, environment, folder)


def in_namespace(kubectl: Kubectl, name: str) -> Kubectl:
    """Return the same program in another namespace."""
    return replace(kubectl, namespace=name)


def first(process: subprocess.Popen[str], wanted: str) -> str:
    """Return the first line of a running command that holds `wanted`."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        if wanted in line:
            return line
        seen.append(line)
    raise AssertionError(f"ended without {wanted!r}: {''.join(seen)}")


def fetch(url: str) -> str:
    """Return the body at `url`."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


_TIMES = r"(?:\d+[smhd])+|<invalid>"
_CHANGES = (
    (r"kube-api-access-[a-z0-9]{5}", "kube-api-access-RANDOM"),
    (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]+ \+0000", "TIME"),
    (r"\b\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"fairlead://[0-9a-f]{64}", "fairlead://ID"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b", "UID"),
    (r"(?<=-)[0-9bcdf-hj-np-tv-z]{6,10}(-[0-9bcdf-hj-np-tv-z]{5})?\b", "HASH"),
    (r"(?<==)[0-9bcdf-hj-np-tv-z]{8,10}\b", "HASH"),
    (r"(?<=web-)[0-9bcdf-hj-np-tv-z]{5}\b", "ID"),
    (r"\b10\.\d+\.\d+\.\d+\b", "IP"),
    (r"\bfd10:[0-9a-f:]+", "IP6"),
    (r"\bnode-\d\b", "NODE"),
    (r":3\d{4}/TCP", ":NODEPORT/TCP"),
    (rf"(?<=\s)(?:{_TIMES})(?= *$|  )", "AGE"),
    (rf"(?<=\s)(?:{_TIMES}) \(x\d+ over (?:{_TIMES})\)", "AGE"),
    (r" {2,}(?=\S)", "  "),
    (r" +$", ""),
    (r"-{3,}", "---"),
)


def normal(text: str, **names: str) -> str:
    """Return `text` without what differs from run to run: names given (value → placeholder), times, addresses, column widths."""
    for placeholder, value in names.items():
        text = text.replace(value, placeholder)
    # Indentation tells structure in descriptions; the width of columns does not.
    lines = []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        body = line.strip()
        for pattern, instead in _CHANGES:
            body = re.sub(pattern, instead, f" {body}").strip()
        lines.append(" " * min(indent, 8) + body if body else "")
    return "\n".join(lines).strip() + "\n"


def check_golden(request: pytest.FixtureRequest, name: str, text: str) -> None:
    """Compare with the golden `name`, or write it with --update-goldens."""
    path = GOLDENS / f"{name}.txt"
    if request.config.getoption("--update-goldens"):
        path.write_text(text)
    assert text == path.read_text()
