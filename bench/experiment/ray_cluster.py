"""The connection to a Ray cluster: to one that runs, or to one of this machine that is started for a command."""

from __future__ import annotations

import importlib
import math
import os
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError
from bench.experiment.executors import ExecutorOptions
from bench.experiment.ray_slot import Node, Slot, prepare
from bench.experiment.spec import Cell
from bench.experiment.workplace import Workplace

_ANSWER_S: Final = 10.0
"""How long an address may take to answer."""
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


class Cluster:
    """The connection to Ray, and what a cell takes of it."""

    def __init__(self, options: ExecutorOptions) -> None:
        _set_up(options.address)
        self.ray: Any = importlib.import_module("ray")
        self._options = options
        self.address = options.address
        self._slot = self.ray.remote(Slot)
        self._prepare = self.ray.remote(prepare)
        self._folder: Path | None = None
        self._is_ours = not self.ray.is_initialized()
        if self._is_ours:
            self._connect()
        if not self.room():
            found = self._shown()
            self.close()
            raise BenchError(
                f"no node of the Ray cluster has room for a run, which takes {self._wanted()}; there is {found}: "
                "lower --threads or --gpus-per-cell"
            )

    def room(self) -> int:
        """How many cells the nodes can hold at a time."""
        return sum(self._room_of(node["Resources"]) for node in self._nodes())

    @property
    def n_nodes(self) -> int:
        """Nodes that are alive."""
        return len(self._nodes())

    def slot(self, place: Workplace) -> Any:
        """A new actor, which begins when a node has room for it."""
        options = self._options
        actor = self._slot.options(num_cpus=options.threads, num_gpus=options.gpus_per_cell)
        return actor.remote(place, str(Path.cwd()))

    def prepared(self, place: Workplace, cell: Cell, node: Node) -> tuple[Any, Any]:
        """References to the fault and to the parcel of a cell's data, which are made on that node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # It takes no CPU of its own: the slot that waits for it has one, which is idle meanwhile.
        task = self._prepare.options(
            num_cpus=0, num_returns=2, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        )
        fault, parcel = task.remote(place.catalogue, cell, str(Path.cwd()))
        return fault, parcel

    def is_loss(self, error: BaseException) -> bool:
        """Whether a process or a node is gone, and not something that its code raised."""
        known = self.ray.exceptions
        return isinstance(error, known.RayError) and not isinstance(error, known.RayTaskError)

    def close(self) -> None:
        """Leave it; what was started here ends, and its folder goes."""
        if self._is_ours and self.ray.is_initialized():
            self.ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self) -> None:
        if self.address is not None:
            self._require_answer(os.environ.get("RAY_ADDRESS", "") if self.address == "auto" else self.address)
        threads = {name: str(self._options.threads) for name in _THREADS}
        try:
            self.ray.init(
                **(self._of_this_machine() if self.address is None else {"address": self.address}),
                runtime_env={"env_vars": threads},
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (RuntimeError, ValueError, OSError, self.ray.exceptions.RayError) as error:
            self.close()
            raise BenchError(self._no_connection(error)) from None

    def _require_answer(self, address: str) -> None:
        """Ray itself would try for minutes."""
        host, _, port = address.rpartition(":")
        if not address:
            return
        if "/" in host or not host or not port.isdecimal():
            raise BenchError(
                f"--address is '{address}', which is no address of a Ray cluster: write host:port, or auto"
            )
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
        except (OSError, OverflowError) as error:
            raise BenchError(self._no_connection(error)) from None

    def _of_this_machine(self) -> dict[str, Any]:
        # Sockets have short names, so their folder must not stand below a long TMPDIR.
        parent = "/tmp" if Path("/tmp").is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="ray", dir=parent))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        jobs = self._options.jobs or max(cores // self._options.threads, 1)
        return {
            "address": "local",
            "num_cpus": jobs * self._options.threads,
            "include_dashboard": False,
            "_temp_dir": str(self._folder),
        }

    def _no_connection(self, error: BaseException) -> str:
        said = (getattr(error, "strerror", None) or str(error)).strip() or type(error).__name__
        first = said.splitlines()[0].partition(". ")[0]
        if self.address is None:
            return f"Ray cannot be started on this machine: {first}"
        way_out = "start one by `ray start --head`, give --address host:port, or leave --address out"
        return f"no Ray cluster answers at '{self.address}' ({first}): {way_out}"

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    def _room_of(self, resources: dict[str, float]) -> int:
        options = self._options
        room = resources.get("CPU", 0.0) / options.threads
        if options.gpus_per_cell:
            # A share of a GPU is a share of one: none spans two.
            gpus, each = resources.get("GPU", 0.0), options.gpus_per_cell
            room = min(room, gpus * math.floor(1 / each + 1e-9) if each < 1 else gpus / each)
        return math.floor(room)

    def _wanted(self) -> str:
        return f"{self._options.threads} CPUs and {self._options.gpus_per_cell:g} GPUs"

    def _shown(self) -> str:
        kinds = [(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)) for node in self._nodes()]
        nodes = [f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in sorted(kinds, reverse=True)[:3]]
        return ", ".join(nodes) or "no node"


def _set_up(address: str | None) -> None:
    """Say what Ray reads when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        # Else Ray makes a token for the cluster that stays in the home folder.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
