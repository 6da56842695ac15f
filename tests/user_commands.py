"""Runs every command of the README and docs/transfer.md once, with the `bench` of an environment without test tools.

    python tests/user_commands.py BIN      # BIN: the folder of that environment's programs

Blocks of commands run as they stand (but with one seed and one epoch), commands of the table as `TABLE` says. All
happens in a folder of its own, on simulated editions; a chat model and a server for downloads answer on loopback. Ends
with 1 when a command fails, when the README has one that is not run, or when one that is run is no longer there.
"""

import functools
import hashlib
import http.server
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
PAGES = (README, README.parent / "docs" / "transfer.md")
QUICK = ("mlad", "deeplog", "zerolog", "source-only", "generallog", "fusionlog")

# A command of a block that does not run as it stands -> what runs instead: a suite of minutes, a pipe that never ends.
BLOCKS = {
    "bench run --suite smoke": "bench run --suite small.toml",
    "bench run --suite real,baselines --freeze plan.toml": "bench run --suite small.toml --freeze plan.toml",
    "bench run --frozen plan.toml --jobs 2": "bench run --frozen plan.toml --jobs 2",
    "bench run --set mlad.alpha=1.0:1.6:0.1 --scenario bgl": (
        "bench run --set mlad.alpha=1.0:1.6:0.3 --scenario bgl --seeds 1 --set mlad.steps=2"
    ),
    "bench compare mlad": "bench compare mlad[steps=2]",
    "bench compare mlad --against all --scenario bgl": "bench compare mlad[steps=2] --against all --scenario bgl",
    "bench compare mlad --stored --metric ap": "bench compare mlad[steps=2] --stored --metric ap",
    "bench run --methods generallog,fusionlog --scenario bgl2tbird --split transfer --set generallog.teacher=embedding "
    "--set fusionlog.teacher=embedding": (
        "bench run --methods generallog,fusionlog --scenario bgl2tbird --split transfer --seeds 1 "
        "--set generallog.teacher=embedding --set generallog.steps=2 "
        "--set fusionlog.teacher=embedding --set fusionlog.steps=2 --set fusionlog.round_steps=2"
    ),
    "bench fit mlad --scenario bgl@simulated --save model": (
        "bench fit mlad --scenario bgl@simulated --save model --set mlad.steps=2"
    ),
}
# A command of the table -> what runs for it, in this order; none where a block runs it.
TABLE = {
    "bench list methods|datasets|scenarios|suites": [
        "bench list methods --json",
        "bench list datasets",
        "bench list scenarios",
        "bench list suites",
    ],
    "bench data list|info|verify": ["bench data list", "bench data info bgl --plot", "bench data verify --data web"],
    "bench data prepare NAME": ["bench data prepare mylogs --data logs"],
    "bench data simulate NAME --lines N": ["bench data simulate bgl --lines 1000 --edition small --data logs"],
    "bench data fetch NAME": ["bench data fetch app --data web"],
    "bench data new NAME FILE": [],
    "bench data corpus FOLDER": ["bench data corpus code --out instructions.log"],
    "bench data export SCENARIO --out DIR": ["bench data export bgl@simulated --out export --format jsonl"],
    "bench results import NAME FILE": [
        "sh -c 'cd export && awk -f ../rarest_key.awk train.jsonl validation.jsonl test.jsonl > scores.csv'",
        "bench results import rarest-key-awk export/scores.csv",
    ],
    "bench results status": ["bench results status", "bench results status --watch", "bench results status --json"],
    "bench table": ["bench table", "bench table --write", "bench table --check"],
    "bench table --matrix": [],
    "bench compare METHOD": [],
    "bench errors METHOD --scenario NAME": [
        "bench errors pca --scenario hdfs",
        "bench errors pca --scenario hdfs --lines 0 --predictions p.parquet --write-split s.parquet --json",
    ],
    "bench table --published": ["bench table --published"],
    "bench audit published": ["bench audit published"],
    "bench audit plan FILE": ["bench audit plan plan.toml"],
    "bench results pages": ["bench results pages", "bench results pages --check"],
    "bench audit claims": ["bench audit claims", "bench audit claims --json"],
    "bench plot SUITE": ["bench plot fig4"],
    "bench plot --curves METHODS --scenario NAME": ["bench plot --curves pca,ecvc --scenario hdfs"],
    "bench results cite": ["bench results cite", "bench results cite --scenario hdfs"],
    "bench results show RUN_ID": ["bench results show {run_id}"],
    "bench results pack": [
        "bench results pack",
        "bench results merge elsewhere",
        "bench results prune --dry-run",
        "bench results verify",
        "bench results export flat.csv",
    ],
    "bench results reproduce RUN_ID": ["bench results reproduce {run_id}"],
    "bench gate --baseline results/baseline.json": [
        "bench gate --baseline results/baseline.json --update",
        "bench gate --baseline results/baseline.json",
    ],
    "bench fit METHOD --scenario NAME --save DIR": [],
    "bench score DIR LOG": [],
    "bench score LOG --fit METHODS": [
        "bench score logs/hdfs/mine.log --fit ecvc --session 'blk_-?[0-9]+' --labels logs/hdfs/mine_labels.csv --json"
    ],
    "bench new-method NAME": ["bench new-method my-method --to plugin"],
    "bench check NAME": ["bench check pca"],
    "bench probe injection|memorisation": [
        "bench probe injection --methods chatgpt --scenario bgl --sample 4 --phrasings plain --positions first",
        "bench probe memorisation --methods chatgpt --scenario bgl --sample 8",
    ],
    "bench probe shortcut": ["bench probe shortcut --methods gaussian --scenario bgl --sample 8 --seeds 1"],
    "bench probe permuted-labels": [],
    "bench probe router": ["bench probe router --methods mean-difference --scenario bgl2tbird --split transfer"],
    "bench llm pack|verify FOLDER": ["bench llm pack given", "bench llm verify given"],
    "bench llm batch write|read": [
        "bench llm batch write ask.jsonl --methods chatgpt --scenario bgl --seeds 1 --sample 4"
    ],
    "bench doctor": ["bench doctor"],
    "bench --version": ["bench --version"],
}
# What prose says: recorded answers without a server, the example class of the README.
FURTHER = (
    "bench run --methods chatgpt --scenario bgl --sample 500 --seeds 1 --llm replay --out replayed "
    "--set chatgpt.store=results/llm",
    "bench run --methods ngram --scenario bgl --seeds 1 --out elsewhere",
    "bench check mine.py:MyDetector",
    "bench run --methods told.py:MyDetector --scenario bgl --auxiliary hdfs --incidents 60s --seeds 1",
    "bench score model logs/bgl/new.log --json",
    "bench score model - --explain 2",
    "bench data prepare mylogs@july --from logs/june.log --data logs",
)
SUITE = """description = "small"
[[run]]
scenarios = ["hdfs@simulated"]
methods = ["pca"]
seeds = "0,"
"""
SYSTEM = """title = "An application"
licence = "MIT"
citation = "nobody"
kind = "lines"
tier = "smoke"
rank = 10
[format]
label = "first-token"
"""
FILES = """[[files]]
name = "app/app.log"
member = "app.log"
max_bytes = 1_000_000
[counts]
lines = 600
"""


def text():
    """The pages whose commands are run."""
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def block_commands(readme):
    """The commands of the README's blocks, without their comments."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fenced if not language]
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith("bench ")))


def table_commands(readme):
    """The commands of the first column of its tables."""
    cells = re.findall(r"^\| (`bench .*?) \| ", readme, re.MULTILINE)
    found = [command.replace("\\|", "|") for cell in cells for command in re.findall(r"`(bench [^`]+)`", cell)]
    return list(dict.fromkeys(found))


def not_run(readme):
    """Commands of the tables that nothing runs, and runs whose command the README no longer has."""
    there = {*table_commands(readme), *block_commands(readme)}
    missing = [command for command in table_commands(readme) if command not in TABLE]
    return missing, [command for command in (*TABLE, *BLOCKS) if command not in there]


def runs(readme):
    """All command lines, in the order of the README: blocks first, since the table shows what they recorded."""
    blocks = [BLOCKS.get(command) or quick(command) for command in block_commands(readme)]
    return [*blocks, *FURTHER, *(line for command in table_commands(readme) for line in TABLE[command])]


def quick(command):
    """The same with one seed and one epoch for the networks that it names, or with a small suite."""
    if not command.startswith("bench run"):
        return command
    if "--suite" in command:
        return command.replace("--suite smoke", "--suite small.toml")
    seeds = "" if "--seeds" in command else " --seeds 1"
    named = re.search(r"--methods (\S+)", command)
    methods = re.split(r"[,+]", named[1]) if named else []
    return command + seeds + "".join(f" --set {name}.steps=2" for name in QUICK if name in methods)


def prepare(folder, readme):
    """What the commands need: the README's example method, a small suite, logs, and an archive to download."""
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "MyDetector" in block]
    (folder / "mine.py").write_text(example)
    (folder / "code").mkdir()
    (folder / "code" / "app.py").write_text(
        'import logging\nlogging.info("started %s", 1)\nlogging.error("cannot write %s", 2)\n'
    )
    more = '{"source": "normals", "auxiliary": "unlabelled"}, incidents=True'
    (folder / "told.py").write_text(example.replace('{"source": "normals"}', more))
    (folder / "small.toml").write_text(SUITE)
    script = README.parent / "examples" / "rarest_key.awk"
    (folder / script.name).write_text(script.read_text())
    logs = folder / "logs"
    logs.mkdir()
    for name, n_lines in (("app.log", 600), ("june.log", 400)):
        line = "{} {} 2005.06.03 node1 RAS KERNEL INFO step {} of {}\n"
        lines = [line.format("-" if i % 37 else "FAIL", 1117838570 + 10 * i, i % 5, i) for i in range(n_lines)]
        (logs / name).write_text("".join(lines))
    offer(folder, logs / "app.log")


def offer(folder, log):
    """Serve an archive with this log on loopback, and write a card that downloads it."""
    served, card = folder / "served", folder / "web" / "app"
    served.mkdir()
    card.mkdir(parents=True)
    with zipfile.ZipFile(served / "app.zip", "w") as archive:
        archive.write(log, "app.log")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=served)
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    (card / "_system.toml").write_text(SYSTEM)
    digest = hashlib.md5((served / "app.zip").read_bytes()).hexdigest()
    url = f"http://127.0.0.1:{web.server_port}/app.zip"
    (card / "full.toml").write_text(f'[download]\nurl = "{url}"\nmd5 = "{digest}"\n{FILES}')


def chat_model():
    """A sensible chat model on loopback."""
    spec = importlib.util.spec_from_file_location("chat_stub", Path(__file__).with_name("chat_stub.py"))
    chat = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chat)
    return chat.Stub()


def environment_of(binaries, folder, url):
    """What a user has who set nothing: no variable of ours, no proxy; the chat model is at `url`."""
    hidden = ("BENCH_", "OPENAI_", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    kept = {key: value for key, value in kept.items() if not key.lower().endswith("_proxy")}
    kept |= {"OPENAI_BASE_URL": url, "BENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return kept | {"PATH": f"{Path(binaries).resolve()}:{kept['PATH']}"}


def run_of(archive, method):
    """The run id of the first record of a method, or nothing where there is none yet."""
    lines = (line for file in sorted(archive.glob("*--*.jsonl")) for line in file.read_text().splitlines())
    return next((record["run_id"] for record in map(json.loads, lines) if record["method"] == method), "")


def fails(line, folder, environment):
    """Run one command line, say how long it took, and what it said if it failed."""
    began = time.monotonic()
    words = shlex.split(line.format(run_id=run_of(folder / "results" / "records", "pca")))
    options = {"capture_output": True, "text": True, "timeout": 300}
    with (folder / "logs" / "app.log").open() as log:
        done = subprocess.run(words, check=False, cwd=folder, env=environment, stdin=log, **options)
    say(f"{done.returncode} {time.monotonic() - began:6.1f} s  {line}")
    if done.returncode:
        say(done.stdout[-2000:] + done.stderr[-2000:])
    return done.returncode != 0


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(binaries):
    readme = text()
    missing, stale = not_run(readme)
    if missing or stale:
        say(f"in the README without a run: {missing}; with a run, but not in the README: {stale}")
        return 1
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        prepare(folder, readme)
        stub = chat_model()
        environment = environment_of(binaries, folder, stub.url)
        failed = [line for line in runs(readme) if fails(line, folder, environment)]
        stub.close()
    say(f"{len(failed)} commands of the README failed" if failed else "every command of the README ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
