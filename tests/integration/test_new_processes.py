"""A serving process starts worker processes while gRPC is active."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import server.import_hygiene
import asyncio, grpc, uvloop

async def main():
    served = grpc.aio.server()
    port = served.add_insecure_port("127.0.0.1:0")
    await served.start()

    async def keep_busy(channel):
        while True:
            try:
                await channel.unary_unary("/no/method")(b"")
            except grpc.RpcError:
                pass

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        busy = [asyncio.create_task(keep_busy(channel)) for _ in range(20)]
        for _ in range(100):
            started = await asyncio.create_subprocess_exec("/bin/true")
            print(await started.wait())
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
    await served.stop(0)

uvloop.run(main())
"""


def test_a_process_started_while_grpc_is_active_survives() -> None:
    """Without `server.import_hygiene`, a few per cent die in a fork handler of gRPC before exec."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        check=True,
        cwd=ROOT,
        env=environment | {"PYTHONPATH": ".:protos/gen"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout.split() == ["0"] * 100
