"""The loop of `scripts/dev`: the agent and its models as children, and a restart after each change.

The models stay loaded in processes of their own: the language model's server, and an agent that nobody
watches, which lends recogniser, voice and embeddings by `/v1`. A successor of the watched agent waits with
every library imported, so that a restart only imports our own modules. Not here: the agent's process
(`testing/dev_agent.py`), and what has to be there first (`scripts/dev`).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODELS_LOG = ROOT / "build" / "logs" / "dev-models.log"
TAIL = 10
"""Lines of it that are shown when they end."""
WATCHED = ("pipecatapp", "testing/fakes")
"""Folders whose files the agent reads once, when it starts."""
ENGINES = re.compile(r"adapters/.*(stt|tts|embed|llama|llm|onnx|xllama)")
"""Code that runs where the models are: they are loaded anew when it changes."""
LENT = ("STT", "TTS", "EMBEDDER", "LLM")
"""How the settings of what is lent begin."""
CHOICES = ("SERVICE", "BASE_URL")
"""How settings end by which a person has chosen an engine; the agent then has that one by itself."""
SUFFIXES = {".py", ".yaml", ".md", ".txt", ".gbnf"}
"""Of those files; what the page is made of is read anew for each request."""
POLL_S = 0.15
"""Time between two looks at the files (seconds); one takes a few milliseconds."""
SETTLED_S = 0.1
"""How long nothing may change before a restart (seconds): editors and git write several files."""
STOP_S = 1.0
"""Longest wait for a child to end by itself (seconds)."""
UP_S = 120.0
"""How long the agent is waited for until that is said (seconds)."""
Snapshot = dict[str, tuple[int, int]]


class DevError(Exception):
    """What stands in the way, as a sentence."""


def say(text: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"dev: {text}\n")
    sys.stderr.flush()


def files_in(folder: str) -> Iterator[os.DirEntry[str]]:
    """Return the files below a folder that the agent reads when it starts."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in ("__pycache__", "static"):
                yield from files_in(entry.path)
        elif os.path.splitext(entry.name)[1] in SUFFIXES:
            yield entry


def snapshot() -> Snapshot:
    """Return the time and size of every watched file; one that goes meanwhile is gone."""
    found: Snapshot = {}
    for folder in WATCHED:
        for entry in files_in(str(ROOT / folder)):
            with contextlib.suppress(FileNotFoundError):
                stat = entry.stat()
                found[entry.path] = (stat.st_mtime_ns, stat.st_size)
    return found


def changed(before: Snapshot, after: Snapshot) -> list[str]:
    """Return the files that differ, relative to the checkout, sorted."""
    paths = {path for path, _ in before.items() ^ after.items()}
    return sorted(os.path.relpath(path, ROOT) for path in paths)


def free_port() -> int:
    """Return a port of the loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refuse_taken(host: str, port: int) -> None:
    """Refuse a port that somebody has.

    Raises:
        DevError: The port is taken, or the address is not this machine's.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise DevError(
                f"cannot listen on {host} port {port}: {exc.strerror}. "
                f"`ss -ltnp sport = :{port}` tells who does; another port: scripts/dev --port 8001"
            ) from exc


def guarded(command: list[str]) -> list[str]:
    """Return the command so that it ends with this process, where the system can do that."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--", *command] if setpriv else command


def end(process: subprocess.Popen[bytes] | None, timeout_s: float) -> None:
    """End a child, with force when it takes too long."""
    if process is None:
        return
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Agent:
    """The agent that serves, and the one that will after the next change.

    Args:
        fake: Whether models are stand-ins.
        environment: Of the children.
    """

    def __init__(self, fake: bool, environment: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "testing.dev_agent", *(["--fake"] if fake else [])]
        self._environment = environment
        self._running: subprocess.Popen[bytes] | None = None
        self._successor: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the first one; it imports as little as it can before it serves."""
        self._running = self._spawn("--now")

    def prepare(self) -> None:
        """Have a successor import the libraries, when there is none."""
        if self._successor is None or self._successor.poll() is not None:
            self._successor = self._spawn()

    def forget_successor(self) -> None:
        """Have the next one begin with the environment as it is now."""
        end(self._successor, STOP_S)
        self._successor = None

    def restart(self) -> None:
        """Let the successor import our modules while the old one ends, then serve."""
        self.prepare()
        self._tell("import")
        end(self._running, STOP_S)
        self._tell("serve")
        self._running, self._successor = self._successor, None

    def ended(self) -> int | None:
        """Return the exit code of an agent that ended by itself."""
        return self._running.poll() if self._running is not None else None

    def close(self) -> None:
        """End both."""
        end(self._successor, STOP_S)
        end(self._running, STOP_S)

    def _spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        # In a group of their own they do not get the terminal's Ctrl-C, and end in our order.
        return subprocess.Popen(
            guarded([*self._command, *arguments]),
            stdin=subprocess.PIPE,
            env=self._environment,
            cwd=ROOT,
            process_group=0,
        )

    def _tell(self, word: str) -> None:
        assert self._successor is not None and self._successor.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._successor.stdin.write(word.encode() + b"\n")
            self._successor.stdin.flush()


def is_up(host: str, port: int) -> bool:
    """Whether the agent says that every part of it answers."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Loop:
    """Starts, watches, restarts and ends.

    Args:
        options: Of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._environment = self._child_environment()
        self._models: list[subprocess.Popen[bytes]] = []
        self._agent = Agent(options.fake, self._environment)
        self._began_s = time.monotonic()

    def run(self) -> None:
        """Go on until Ctrl-C."""
        seen = snapshot()
        if not self._options.fake:
            self._start_models()
        self._agent.start()
        self._wait_until_up()
        while True:
            self._agent.prepare()
            files, seen = self._next_change(seen)
            self._began_s = time.monotonic()
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            say(f"{files[0]}{more} changed")
            if self._models and any(ENGINES.search(name) for name in files):
                self._end_models()
                self._environment.update(self._child_environment())
                self._start_models()
                self._agent.forget_successor()
            self._agent.restart()
            self._wait_until_up()

    def close(self) -> None:
        """End every child."""
        self._agent.close()
        self._end_models()

    def _child_environment(self) -> dict[str, str]:
        """Return the agent's environment; what the person has set there goes before the models' process."""
        options, given = self._options, os.environ
        ours = {
            "TWIN_HOST": options.host,
            "TWIN_PORT": str(options.port),
            "TWIN_TLS_PORT": given.get("TWIN_TLS_PORT") or "0",
            "TWIN_DATA_DIR": given.get("TWIN_DATA_DIR") or str(ROOT / "build" / "dev"),
            "PYTHONPATH": str(ROOT),
        }
        return {**given, **ours}

    def _start_models(self) -> None:
        """Start what stays loaded, wait until it is, and have the agent ask there.

        Raises:
            DevError: It ended; it has said why.
        """
        say(f"loading the models; they stay loaded (their log: {MODELS_LOG})")
        MODELS_LOG.unlink(missing_ok=True)
        by_itself = [kind for kind in LENT if any(os.environ.get(f"{kind}_{end}") for end in CHOICES)]
        if "LLM" not in by_itself:
            port, key = free_port(), os.environ.get("LLM_API_KEY") or secrets.token_hex(16)
            server = self._environment | {"LLM_API_KEY": key}
            self._models.append(self._spawn(server, "llm", "--port", str(port)))
            self._environment |= {"LLM_BASE_URL": f"http://127.0.0.1:{port}/v1", "LLM_API_KEY": key}
        lent = [kind for kind in LENT if kind not in (*by_itself, "LLM")]
        if lent:
            port = free_port()
            lender = self._environment | {
                "TWIN_HOST": "127.0.0.1",
                "TWIN_PORT": str(port),
                "TWIN_TLS_PORT": "0",
                "TWIN_DATA_DIR": str(Path(self._environment["TWIN_DATA_DIR"]) / "models"),
                "TWIN_LOG_LEVEL": "warning",
            }
            self._models.append(self._spawn(lender, "serve"))
            while not is_up("127.0.0.1", port):
                self._look_at_models()
                time.sleep(0.1)
        for kind in lent:
            url = f"http://127.0.0.1:{port}/v1"
            self._environment |= {f"{kind}_SERVICE": "openai", f"{kind}_BASE_URL": url, f"{kind}_MODEL": ""}

    def _spawn(self, environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
        MODELS_LOG.parent.mkdir(parents=True, exist_ok=True)
        with MODELS_LOG.open("ab") as log:
            return subprocess.Popen(
                guarded([sys.executable, "-m", "pipecatapp", *arguments]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=ROOT,
                process_group=0,
            )

    def _end_models(self) -> None:
        for process in reversed(self._models):
            end(process, STOP_S)
        self._models.clear()

    def _look_at_models(self) -> None:
        for process in self._models:
            if process.poll() is not None:
                said = MODELS_LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
                told = "".join(f"\n  {line}" for line in said)
                raise DevError(f"the models have ended ({process.returncode}); {MODELS_LOG} says why:{told}")

    def _next_change(self, seen: Snapshot) -> tuple[list[str], Snapshot]:
        """Wait for one; say so when a child ends meanwhile."""
        has_told = False
        while True:
            time.sleep(POLL_S)
            code = self._agent.ended()
            if code is not None and not has_told:
                say(f"the agent has ended ({code}); it starts again when a file changes")
                has_told = True
            self._look_at_models()
            if self._options.no_watch and code is None:
                continue
            now = snapshot()
            if now != seen:
                while True:
                    time.sleep(SETTLED_S)
                    later = snapshot()
                    if later == now:
                        return changed(seen, now), now
                    now = later

    def _wait_until_up(self) -> None:
        options = self._options
        host = options.host if options.host not in ("0.0.0.0", "::") else "127.0.0.1"
        deadline_s = self._began_s + UP_S
        while self._agent.ended() is None:
            if is_up(host, options.port):
                shown = f"[{host}]" if ":" in host else host
                say(f"up at http://{shown}:{options.port} after {time.monotonic() - self._began_s:.1f} s")
                return
            if time.monotonic() > deadline_s:
                say(f"not up after {UP_S:.0f} s; http://{host}:{options.port}/health says what is missing")
                return
            time.sleep(0.03)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="scripts/dev")
    parser.add_argument("--fake", action="store_true")
    parser.add_argument("--port", type=int, default=int(os.environ.get("TWIN_PORT") or 8000))
    parser.add_argument("--host", default=os.environ.get("TWIN_HOST") or "127.0.0.1")
    parser.add_argument("--no-watch", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    loop: Loop | None = None
    try:
        refuse_taken(options.host, options.port)
        loop = Loop(options)
        loop.run()
    except DevError as exc:
        say(str(exc))
        return 1
    except KeyboardInterrupt:
        say("ending")
        return 130
    finally:
        if loop is not None:
            loop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
