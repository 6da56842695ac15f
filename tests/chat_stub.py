"""A chat server on loopback that behaves as told."""

import contextlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

ALARMS = ("panic", "TLB error", "corrupt", "out of memory")


def completion(text, *, model="stub-1", yes=None, choices=None):
    """A chat completion as servers send it; yes = probability of Yes at the first token."""
    content = None
    if yes is not None:
        top = [{"token": "Yes", "logprob": yes}, {"token": "No", "logprob": -2.0}, {"token": " maybe", "logprob": -9.0}]
        content = {"content": [{"token": text[:3], "logprob": -0.1, "top_logprobs": top, "bytes": None}]}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    choice |= {"logprobs": content}
    usage = {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102}
    given = [choice] if choices is None else choices
    return {"id": "x", "object": "chat.completion", "created": 0, "model": model, "choices": given, "usage": usage}


def log_part(prompt):
    """What stands between the last pair of delimiters."""
    return prompt.rpartition("<<<LOG")[2].partition("LOG>>>")[0]


def items_of(prompt):
    """The numbered lines of a prompt of LogPrompt."""
    return re.split(r" \(\d+\) ", prompt.rpartition("the logs begin: ")[2])[1:]


def is_alarming(text):
    return any(alarm in text for alarm in ALARMS)


def sensible(prompt, nth=0):
    """Answer each kind of question as a model might that knows alarms by their words."""
    if prompt.endswith("Templates:"):
        return f"Templates:\n{log_part(prompt).strip()}"
    if "logs begin:" in prompt:
        return "\n".join(f"({i}){'ab' * is_alarming(line)}normal-why" for i, line in enumerate(items_of(prompt), 1))
    return "Yes" if is_alarming(log_part(prompt)) else "No"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Who asked may have gone."""

    request_queue_size = 128  # with the usual 5, of 16 that connect at once some wait a second for their next attempt


class Stub:
    """`behave(prompt, nth)` says what to do: a text to answer, (status, body, headers), "STALL", "CUT" or "ENDLESS"."""

    def __init__(self):
        self.prompts, self.bodies, self.headers, self.answered, self.paths = [], [], [], [], []
        self.behave = sensible
        self.latency = 0.0
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.flying = self.most_flying = self.sent = 0
        self.server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    completion = staticmethod(completion)

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def _handler(stub):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or head and body of an answer would be 40 ms apart
            wbufsize = -1  # one packet for both

            def log_message(self, *args):
                pass

            def do_POST(self):
                came = time.monotonic()
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][-1]["content"]
                with stub.lock:
                    nth = stub.prompts.count(prompt)
                    stub.prompts.append(prompt)
                    stub.bodies.append(body)
                    stub.paths.append(self.path)
                    stub.headers.append({name.lower(): value for name, value in self.headers.items()})
                    stub.flying += 1
                    stub.most_flying = max(stub.flying, stub.most_flying)
                try:
                    self.reply(prompt, stub.behave(prompt, nth), body, came + stub.latency)
                finally:
                    with stub.lock:
                        stub.flying -= 1

            def pour(self):
                """Send spaces until nobody takes them any more."""
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.flush()
                with contextlib.suppress(OSError):
                    while not stub.released.is_set():
                        stub.sent += self.connection.send(b" " * 65536)

            def reply(self, prompt, what, body, due):
                if what == "STALL":
                    stub.released.wait(20)
                if what == "ENDLESS":
                    self.pour()
                if what in ("STALL", "CUT", "ENDLESS"):
                    self.close_connection = True
                    self.connection.close()
                    return
                headers = {}
                status = 200
                if isinstance(what, str):
                    yes = (-0.1 if what.startswith("Yes") else -4.0) if body.get("logprobs") else None
                    content = json.dumps(completion(what, yes=yes)).encode()
                else:
                    status, content, *rest = what
                    headers = rest[0] if rest else {}
                    content = content if isinstance(content, bytes) else json.dumps(content).encode()
                time.sleep(max(0.0, due - time.monotonic()))
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                if status == 200:
                    with stub.lock:
                        stub.answered.append(prompt)

        return Handler


@pytest.fixture(scope="module")
def chat_server(tmp_path_factory):
    """A sensible chat model as the endpoint of the environment, for tests that know no config."""
    server = Stub()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", server.url)
        patch.setenv("BENCH_LLM_STORE", str(tmp_path_factory.mktemp("llm")))
        patch.delenv("BENCH_LLM", raising=False)
        patch.delenv("OPENAI_API_KEY", raising=False)
        yield server
    server.close()


@pytest.fixture
def chat_environment(monkeypatch, tmp_path):
    """No key, endpoint, proxy or mode of whoever runs the tests; a store of the test's own."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BENCH_LLM", "BENCH_LLM_PRICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BENCH_LLM_STORE", str(tmp_path / "llm"))
    return tmp_path / "llm"


@pytest.fixture
def stub(chat_environment):
    server = Stub()
    yield server
    server.close()
