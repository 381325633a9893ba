"""kubectl against a server under test."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


class Kubectl:
    def __init__(self, program: Path, home: Path) -> None:
        self.program = program
        self.environment = {"HOME": str(home), "KUBECONFIG": str(home / "config"), "PATH": os.environ["PATH"]}

    async def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            self.program, *arguments, env=self.environment, stdin=-1, stdout=-1, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        assert process.returncode == code, output.decode()
        return output.decode()
