"""How far are chat calls from the ideal, and how fast is a replay? Run: python tests/benchmarks/bench_chat.py

A server on loopback answers every call after 200 ms. 1,000 windows with 16 in flight take at least 1000 / 16 * 0.2 =
12.5 s; printed is the ratio to that, measured in one process with the memory it took, and then the time of a replay of
10,000 recorded calls beside that of parsing the same store with `json` alone.
"""

import argparse
import importlib.util
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.types import Sequences
from methods.chatgpt import ChatGPT, Config

LATENCY_S, IN_FLIGHT = 0.2, 16


def serve(latency, pipe):
    path = Path(__file__).parents[1] / "chat_stub.py"
    spec = importlib.util.spec_from_file_location("chat_stub", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.Stub()
    server.latency = latency
    pipe.send(server.url)
    pipe.recv()


def windows(n):
    texts = tuple(f"message {i} of component {i % 7} was handled in <*> ms" for i in range(n + 19))
    return Sequences.from_lists([range(i, i + 20) for i in range(n)], texts)


def timed(detector, log):
    start, cpu = time.perf_counter(), time.process_time()
    detector.fit(log).score(log)
    return time.perf_counter() - start, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--replayed", type=int, default=10_000)
    arguments = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(LATENCY_S, there), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        config = {"base_url": here.recv(), "store": folder, "concurrency": IN_FLIGHT}
        ideal = arguments.windows / IN_FLIGHT * LATENCY_S
        seconds, cpu = timed(ChatGPT(Config(**config)), windows(arguments.windows))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{arguments.windows} calls: {seconds:.1f} s, {seconds / ideal:.2f} of the ideal")  # noqa: T201
        print(f"of it {cpu:.1f} s of CPU; {peak:.0f} MiB in all")  # noqa: T201
        (path,) = Path(folder).glob("*.jsonl")
        grow(path, arguments.replayed)
        start = time.perf_counter()
        calls = [json.loads(line) for line in path.open()]
        parsing = time.perf_counter() - start
        replay, _ = timed(ChatGPT(Config(store=folder, mode="replay")), windows(arguments.replayed))
        print(f"replay of {len(calls)} calls: {replay:.2f} s, {replay / parsing:.1f} times parsing the file")  # noqa: T201
    here.send("done")
    server.join(5)


def grow(path, n):
    """Let the store hold the answers of n windows."""
    from bench.llm.answers import CallStore, request_hash

    first = json.loads(path.open().readline())
    first["request"]["messages"] = []
    store = CallStore(path.parent, Config().model)
    planned = planned_requests(n)
    with path.open("a") as file:
        for body in planned:
            key = request_hash(body)
            if store.get(key) is None:
                file.write(json.dumps({**first, "hash": key, "request": body}) + "\n")


def planned_requests(n):
    """The requests of n windows, as the detector builds them."""
    from bench.llm import wire as _chat_wire
    from methods.shared.asking import log_blocks, user

    log, config = windows(n), Config()
    for start, stop in zip(log.offsets[:-1], log.offsets[1:], strict=True):
        lines = tuple(log.texts[i] for i in log.text_ids[start:stop])
        prompt = f"{log_blocks(lines, (), config.question, config.budget)}\n{config.question}"
        yield _chat_wire.body_of(config, [user(prompt)], None, None, decides=True)


if __name__ == "__main__":
    sys.exit(main())
