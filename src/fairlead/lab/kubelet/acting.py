"""Carrying out the action of a probe or of a hook on one container: which address, which port, which command."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.lab.kubelet.asking import Answer, grpc_health, http_get, join_host_port, tcp_connect
from fairlead.lab.kubelet.commands import SHELL_NOT_FOUND
from fairlead.lab.kubelet.floor import Floor
from fairlead.lab.kubelet.pod import Container, ExecAction, Handler, HttpAction, Pod, Probe
from fairlead.lab.runtime.spec import CommandMissing, RuntimeFault

_OUTPUT_BYTES = 10 * 1024
# Programs that ask one certain application. One may be on the host by chance while the application is not.
_CLIENTS = frozenset(
    "pg_isready psql mysqladmin mysql mariadb mariadb-admin redis-cli valkey-cli mongo mongosh rabbitmqctl rabbitmq-diagnostics "
    "etcdctl nodetool cqlsh zkServer.sh zkCli.sh kafka-topics.sh nats consul vault memcached-tool ldapsearch".split()
)
_WORD = re.compile(r"[\w.-]+")
_NOT_FOUND = re.compile(rb"(?:^|: )(\S+): (?:command )?not found|can't open|No such file or directory", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The container that is asked."""

    pod: Pod
    container: Container
    ip: str
    stand_in: bool = False
    """The responder answers in place of the application."""

    @property
    def key(self) -> tuple[str, str]:
        """Return (pod uid, container name)."""
        return self.pod.uid, self.container.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer, and a command that was absent and so not run."""

    answer: Answer
    absent: str | None = None


class Actor:
    """Runs actions against containers. `strict`: an absent program fails its probe."""

    def __init__(self, floor: Floor, *, strict: bool) -> None:
        self._floor = floor
        self._strict = strict

    async def probe(self, target: Target, probe: Probe) -> Outcome:
        """Ask what the probe asks, for at most its timeout."""
        timeout_s = float(probe.timeout_seconds)
        if probe.exec is not None:
            return await self._exec(target, probe.exec, timeout_s)
        if probe.http_get is not None:
            return Outcome(answer=await self._http(target, probe.http_get, timeout_s))
        if probe.tcp_socket is not None:
            port = target.container.port_number(probe.tcp_socket.port)
            if port is None:
                return _no_port(probe.tcp_socket.port)
            return Outcome(answer=await tcp_connect(probe.tcp_socket.host or target.ip, port, timeout_s))
        if probe.grpc is not None:
            answer = await grpc_health(target.ip, probe.grpc.port, probe.grpc.service or "", timeout_s)
            return Outcome(answer=answer)
        return Outcome(answer=Answer(ok=True))

    async def hook(self, target: Target, handler: Handler, timeout_s: float) -> Outcome:
        """Carry out a lifecycle handler."""
        if handler.exec is not None:
            return await self._exec(target, handler.exec, timeout_s)
        if handler.http_get is not None:
            return Outcome(answer=await self._http(target, handler.http_get, timeout_s))
        if handler.sleep is not None:
            await asyncio.sleep(min(handler.sleep.seconds, timeout_s))
            return Outcome(answer=Answer(ok=True))
        if handler.tcp_socket is not None:
            port = target.container.port_number(handler.tcp_socket.port)
            if port is None:
                return _no_port(handler.tcp_socket.port)
            return Outcome(answer=await tcp_connect(handler.tcp_socket.host or target.ip, port, timeout_s))
        return Outcome(answer=Answer(ok=True))

    async def _http(self, target: Target, action: HttpAction, timeout_s: float) -> Answer:
        port = target.container.port_number(action.port)
        if port is None:
            return _no_port(action.port).answer
        path = action.path or "/"
        path = path if path.startswith("/") else f"/{path}"
        # The responder has no certificate; what it stands in for would have one.
        scheme = "http" if target.stand_in else action.scheme.lower()
        url = f"{scheme}://{join_host_port(action.host or target.ip, port)}{path}"
        headers = [(header.name, header.value) for header in action.http_headers or ()]
        return await http_get(url, headers, timeout_s)

    async def _exec(self, target: Target, action: ExecAction, timeout_s: float) -> Outcome:
        uid, name = target.key
        try:
            code, output = await asyncio.wait_for(self._run(uid, name, action.command), timeout_s)
        except TimeoutError:
            command = " ".join(action.command)
            return Outcome(
                answer=Answer(ok=False, message=f'command timed out: "{command}" timed out after {timeout_s:g}s')
            )
        except CommandMissing as error:
            return self._absent(action.command[0] if action.command else "", str(error))
        except RuntimeFault as error:
            return Outcome(answer=Answer(ok=False, message=str(error)))
        text = output.decode(errors="replace")
        if code == 0:
            return Outcome(answer=Answer(ok=True, message=text))
        if not self._strict and (code in SHELL_NOT_FOUND or _says_not_found(action.command, output)):
            return self._absent(" ".join(action.command), text)
        if target.stand_in and not self._strict and _asks_application(action.command):
            return self._absent(" ".join(action.command), text)
        return Outcome(answer=Answer(ok=False, message=text))

    def _absent(self, command: str, message: str) -> Outcome:
        if self._strict:
            return Outcome(answer=Answer(ok=False, message=message))
        return Outcome(answer=Answer(ok=True), absent=command)

    async def _run(self, uid: str, container: str, command: Sequence[str]) -> tuple[int, bytes]:
        session = await self._floor.exec(uid, container, command, tty=False, stdin=False, env={})
        output = b""
        try:
            while (chunk := await session.read()) is not None:
                if len(output) < _OUTPUT_BYTES:
                    output += chunk[1]
            return await session.wait(), output[:_OUTPUT_BYTES]
        except BaseException:
            await session.kill()
            raise


def _says_not_found(command: Sequence[str], output: bytes) -> bool:
    """Tell whether a shell complained that a program of its script is missing, as in `redis-cli ping | grep PONG`."""
    shell = bool(command) and command[0].rpartition("/")[2] in ("sh", "bash", "ash", "dash")
    match = _NOT_FOUND.search(output) if shell else None
    return bool(match and match.group(1))


def _asks_application(command: Sequence[str]) -> bool:
    return any(word in _CLIENTS for part in command for word in _WORD.findall(part))


def _no_port(port: int | str) -> Outcome:
    return Outcome(answer=Answer(ok=False, message=f'strconv.Atoi: parsing "{port}": invalid syntax'))
