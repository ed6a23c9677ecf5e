"""The shell of an operator, in which `dicomstore` is forked from a process that has imported it."""

import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from tests.programs import Program

_CLIENT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    socket.send_fds(server, [b"."], [0, 1, 2])
    server.sendall(json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(4)))
"""
"""Has another process run `dicomstore` with the files, folder and variables of this one."""


def operator_shell(
    commands: str, environment: Mapping[str, str] | None, directory: Path, user: str | None = None
) -> str:
    """Run the commands of an operator, which include `dicomstore` unless there is a user; return their output."""
    with _forking() as path:
        client = f'"{sys.executable}" -I -S -c "$client" "{path}" "$@"'
        ran = subprocess.run(
            ["bash", "-ec", f"client='{_CLIENT}'\ndicomstore() {{ {client}; }}\n{commands}"],
            env=environment,
            cwd=directory,
            user=user,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@contextmanager
def _forking() -> Iterator[str]:
    """Run `dicomstore` for clients of a Unix socket, whose path is yielded."""
    running: list[Program] = []
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder}/socket"
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            with suppress(OSError):  # the socket is shut down at the end
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=_run, args=(connection, running), daemon=True).start()

        server = threading.Thread(target=serve)
        server.start()
        try:
            yield path
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join()
            for program in running:
                program.kill()


def _run(connection: socket.socket, running: list[Program]) -> None:
    with connection:
        _, (stdin, *outputs), _, _ = socket.recv_fds(connection, 1, 3)
        with (
            Connection(stdin, writable=False) as files_in,
            Connection(outputs[0], readable=False) as stdout,
            Connection(outputs[1], readable=False) as stderr,
        ):
            with connection.makefile("rb") as request:
                arguments, folder, environment = json.loads(request.read())
            program = Program(
                "cli", *arguments,
                environment=environment, folder=Path(folder), stdin=files_in, stdout=stdout, stderr=stderr,
            )  # fmt: skip
        running.append(program)
        connection.sendall(str(program.wait()).encode())
