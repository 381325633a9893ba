"""Forwards one CNI call to the node's agent and prints what it answers.

This file is copied to be an executable of its own (`install.py` puts the interpreter and SOCKET in front). It starts once per pod
and command, so it imports only modules that are part of the interpreter itself: `socket` and `json` would triple the time. It must
never touch the network or keep state; whatever goes wrong is an error that the runtime may try again.
"""

import _socket
import posix
import sys

SOCKET = "/run/fairlead/agent.sock"
"""Where the agent listens; replaced at installation."""
MOST_BYTES = 1 << 20
TIMEOUT_S = 60
_VERSIONS = b'["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]'


def main() -> int:
    """Run the call that the environment and standard input describe; return the exit code."""
    environment = [key + b"=" + value for key, value in posix.environ.items() if key.startswith(b"CNI_")]
    command = posix.environ.get(b"CNI_COMMAND", b"")
    stdin = b""
    try:
        while len(stdin) <= MOST_BYTES and (part := posix.read(0, 1 << 16)):
            stdin += part
    except OSError as error:
        return _error("1.0.0", 5, "standard input cannot be read", str(error))
    version = _version(stdin)
    if len(stdin) > MOST_BYTES:
        return _error(version, 5, "network configuration too large", f"more than {MOST_BYTES} bytes")
    if command == b"VERSION":
        return _print(0, b'{"cniVersion":"%s","supportedVersions":%s}' % (version.encode(), _VERSIONS))
    try:
        status, output = _call(b"\0".join(environment), stdin)
    except (OSError, ValueError) as error:
        code = 50 if command == b"STATUS" else 11
        reason = getattr(error, "strerror", None) or str(error)
        return _error(version, code, "the node's network agent does not answer", f"{SOCKET}: {reason}")
    if status == 2:
        return _error(version, 7, "the node's network agent refuses the request", output.decode("utf-8", "replace"))
    return _print(status, output)


def _call(environment: bytes, stdin: bytes) -> tuple[int, bytes]:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    sock.settimeout(TIMEOUT_S)
    address = SOCKET
    if len(address.encode()) > 107:
        folder, _, name = address.rpartition("/")
        address = f"/proc/self/fd/{posix.open(folder, posix.O_PATH | posix.O_DIRECTORY)}/{name}"
    sock.connect(address)
    sock.sendall(b"cni 1 %d %d\n" % (len(environment), len(stdin)) + environment + stdin)
    answer = b""
    while part := sock.recv(1 << 16):
        answer += part
    head, _, output = answer.partition(b"\n")
    fields = head.split()
    if len(fields) != 2 or len(output) != int(fields[1]):
        raise ValueError("the agent ended while it answered")
    return int(fields[0]), output


def _version(stdin: bytes) -> str:
    _, _, rest = stdin.partition(b'"cniVersion"')
    quoted = rest.split(b'"', 2)
    text = quoted[1] if len(quoted) == 3 and quoted[0].strip() == b":" else b""
    return text.decode() if text and not text.strip(b"0123456789.") and len(text) < 16 else "1.0.0"


def _error(version: str, code: int, message: str, details: str) -> int:
    plain = "".join(character for character in details if character >= " " and character not in '"\\')
    text = f'{{"cniVersion":"{version}","code":{code},"msg":"{message}","details":"{plain}"}}'
    return _print(1, text.encode("utf-8", "replace"))


def _print(status: int, output: bytes) -> int:
    while output:
        output = output[posix.write(1, output) :]
    return status


if __name__ == "__main__":
    sys.exit(main())
