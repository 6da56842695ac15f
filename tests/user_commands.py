"""Runs every command of the README and of docs once, with the `bench` of an environment without test tools.

    python tests/user_commands.py BIN          # BIN: the folder of that environment's programs; the pages of every day
    python tests/user_commands.py BIN --all    # all pages, some minutes more

Blocks of commands run as they stand (but with one seed and one epoch), commands of the table as `TABLE` says. All
happens in a folder of its own, on simulated editions; a chat model and a server for downloads answer on loopback. Ends
with 1 when a command fails, when a page has one that is not run, or when one that is run is no longer there.
"""

import functools
import hashlib
import http.server
import importlib.util
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (
    ROOT / "README.md",
    *(
        DOCS / f"{name}.md"
        for name in ("commands", "reading", "own-logs", "fitted", "add-a-method", "data", "transfer")
    ),
)
"""The pages of every day."""
LONG_PAGES = tuple(page for page in sorted(DOCS.rglob("*.md")) if page not in PAGES)
"""What takes minutes more."""
QUICK = ("mlad", "deeplog", "zerolog", "source-only", "generallog", "fusionlog")

# A command of a block that does not run as it stands -> what runs instead: a suite of minutes, a pipe that never ends.
BLOCKS = {
    "bench run --suite smoke": "bench run --suite small.toml",
    "bench run --suite real,baselines --freeze plan.toml": "bench run --suite small.toml --freeze plan.toml",
    "bench run --frozen plan.toml --jobs 2": "bench run --frozen plan.toml --jobs 2",
    "bench run --set mlad.alpha=1.0:1.6:0.1 --scenario bgl": (
        "bench run --set mlad.alpha=1.0:1.6:0.3 --scenario bgl --seeds 1 --set mlad.steps=2"
    ),
    "bench errors mlad --scenario hdfs": "bench errors mlad[steps=2] --scenario hdfs",
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
# The same of the long pages, as lists.
LONG_BLOCKS = tomllib.loads(Path(__file__).with_name("long_commands.toml").read_text(encoding="utf-8"))
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
    "bench report": ["bench report", "bench report --scenario hdfs --mistakes 2 --to some.html"],
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
    "bench results restamp": ["bench results restamp --help"],
    "bench audit data NAME": ["bench audit data bgl"],
    "bench llm serve": ["bench llm serve --help"],
    "bench gate --baseline results/baseline.json": [
        "bench gate --baseline results/baseline.json --update",
        "bench gate --baseline results/baseline.json",
    ],
    "bench fit METHOD --scenario NAME --save DIR": [],
    "bench score DIR LOG": [],
    "bench score LOG --fit METHODS": [
        "bench score logs/hdfs/mine.log --fit ecvc --session 'blk_-?[0-9]+' --labels logs/hdfs/mine_labels.csv --json"
    ],
    "bench check NAME": ["bench check pca"],
    "bench check NAME --new": ["bench check my-method --new --to plugin"],
    "bench probe injection|memorisation": [
        "bench probe injection --methods chatgpt --scenario bgl --sample 4 --phrasings plain --positions first",
        "bench probe memorisation --methods chatgpt --scenario bgl --sample 8",
    ],
    "bench probe shortcut": ["bench probe shortcut --methods gaussian --scenario bgl --sample 8 --seeds 1"],
    "bench probe permuted-labels": [],
    "bench probe words": [
        "bench probe words --methods mean-difference --scenario bgl2tbird --split transfer --words 2"
    ],
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
SOURCE = 'class Disk {{\n  LOG.{level}("{word} of {thing} {{}} {end}", n);\n}}\n'
ANSWER = """import json, os, sys, urllib.request
with open(sys.argv[1]) as asked, open(sys.argv[2], "w") as answered:
    for line in map(json.loads, asked):
        url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
        request = urllib.request.Request(url, json.dumps(line["body"]).encode(), {"Content-Type": "application/json"})
        body = json.load(urllib.request.urlopen(request))
        whole = {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}
        answered.write(json.dumps(whole) + "\\n")
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


def text(pages=PAGES):
    """The pages whose commands are run, as one."""
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def block_commands(readme):
    """The commands of the pages' blocks, without their comments; one that goes on behind a backslash is one line."""
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", readme, re.DOTALL | re.MULTILINE)
    blocks = [re.sub(r" *\\\n *", " ", block) for language, block in fenced if not language]
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if re.match(r"(?:[A-Z_]+=\S+ )?bench ", line)))


def table_commands(readme):
    """The commands of the first column of its tables."""
    cells = re.findall(r"^\| (`bench .*?) \| ", readme, re.MULTILINE)
    found = [command.replace("\\|", "|") for cell in cells for command in re.findall(r"`(bench [^`]+)`", cell)]
    return list(dict.fromkeys(found))


def not_run(readme, blocks=BLOCKS):
    """Commands of the tables that nothing runs, and runs whose command the pages no longer have."""
    there = {*table_commands(readme), *block_commands(readme)}
    missing = [command for command in table_commands(readme) if command not in TABLE]
    return missing, [command for command in (*TABLE, *blocks) if command not in there]


def runs(readme):
    """All command lines, in the order of the pages: blocks first, since the table shows what they recorded."""
    blocks = [line for command in block_commands(readme) for line in instead(command)]
    return [*blocks, *FURTHER, *(line for command in table_commands(readme) for line in TABLE[command])]


def long_runs():
    """The command lines that the long pages add."""
    everyday = block_commands(text())
    return [
        line for command in block_commands(text(LONG_PAGES)) if command not in everyday for line in instead(command)
    ]


def instead(command):
    """What runs for a command of a block."""
    found = BLOCKS.get(command) or LONG_BLOCKS.get(command) or quick(command)
    return [found] if isinstance(found, str) else found


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
    """What the commands need: the example methods of the pages, a small suite, logs, and an archive to download."""
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "MyDetector" in block]
    (network,) = re.findall(r"^```python\n(.*?)^```", text([DOCS / "pytorch.md"]), re.DOTALL | re.MULTILINE)
    (folder / "autoencoder.py").write_text(network)
    (folder / "answer.py").write_text(ANSWER)
    (folder / "ci").mkdir()
    instructions(folder / "source")
    (folder / "mine.py").write_text(example)
    (folder / "code").mkdir()
    (folder / "code" / "app.py").write_text(
        'import logging\nlogging.info("started %s", 1)\nlogging.error("cannot write %s", 2)\n'
    )
    more = '{"source": "normals", "auxiliary": "unlabelled"}, incidents=True'
    (folder / "told.py").write_text(example.replace('{"source": "normals"}', more))
    (folder / "small.toml").write_text(SUITE)
    script = ROOT / "examples" / "rarest_key.awk"
    (folder / script.name).write_text(script.read_text())
    logs = folder / "logs"
    logs.mkdir()
    for name, n_lines in (("app.log", 600), ("june.log", 400)):
        line = "{} {} 2005.06.03 node1 RAS KERNEL INFO step {} of {}\n"
        lines = [line.format("-" if i % 37 else "FAIL", 1117838570 + 10 * i, i % 5, i) for i in range(n_lines)]
        (logs / name).write_text("".join(lines))
    offer(folder, logs / "app.log")


def instructions(folder):
    """Source code with log instructions of all levels."""
    folder.mkdir()
    words = ("read", "write", "check", "repair", "copy", "size")
    things = ("volume", "block", "file", "page", "index", "mirror")
    for level, end in (("info", "is done"), ("error", "has failed"), ("warn", "is late")):
        for word, thing in itertools.product(words, things):
            code = SOURCE.format(level=level, word=word, thing=thing, end=end)
            (folder / f"{level}_{word}_{thing}.java").write_text(code)


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
    run_id = run_of(folder / "results" / "records", "pca")
    words = shlex.split(line.replace("{run_id}", run_id).replace("{python}", sys.executable))
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


def main(binaries, *options):
    readme = text()
    missing, stale = not_run(readme)
    stale += [command for command in LONG_BLOCKS if command not in block_commands(text(LONG_PAGES))]
    if missing or stale:
        say(f"on a page without a run: {missing}; with a run, but on no page: {stale}")
        return 1
    lines = [*runs(readme), *(long_runs() if "--all" in options else [])]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        prepare(folder, readme)
        stub = chat_model()
        environment = environment_of(binaries, folder, stub.url)
        failed = [line for line in lines if fails(line, folder, environment)]
        stub.close()
    say(f"{len(failed)} commands of the pages failed" if failed else "every command of the pages ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
