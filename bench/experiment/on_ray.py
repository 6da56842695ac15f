"""The executor of a Ray cluster: each cell that runs has a Ray actor, and with it its CPUs and its share of a GPU.

Ray places actors on nodes and sees when one is gone; a thread here feeds each of them, claims its cells and keeps what
comes back. So whatever is lost with a node, no record is, and the cell goes to another actor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError
from bench.experiment.desk import Desk
from bench.experiment.executors import Crew, CrewExecutor, ExecutorOptions, LostError
from bench.experiment.ray_cluster import Cluster
from bench.experiment.ray_slot import Finished, Node
from bench.experiment.spec import Cell
from bench.experiment.workplace import Event, Group, Told, Workplace
from bench.records.record import Record

MAX_LOSSES: Final = 3
"""How often a cell is begun again after its actor or node got lost."""
_LOOK_AGAIN_S: Final = 0.5
_NO_ROOM_S: Final = 60.0
"""How long no node of the cluster may be able to hold a cell."""


def on_ray(options: ExecutorOptions) -> OnRay:
    """A Ray cluster; a BenchError where Ray is not installed."""
    if find_spec("ray") is None:
        raise BenchError("--executor ray needs Ray, which is not installed: pip install 'mlad-bench[ray]'")
    return OnRay(options)


class OnRay(CrewExecutor):
    """Runs groups on a Ray cluster, or on one of this machine that is started for it."""

    def __init__(self, options: ExecutorOptions) -> None:
        super().__init__()
        self._options = options
        self._cluster: Cluster | None = None

    @property
    def jobs(self) -> int:
        """How many at a time: as many as were asked for, else as many as the cluster has room for now."""
        return self._options.jobs or self._connected().room()

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    def _crew_for(self, groups: Sequence[Group], desk: Desk) -> Crew:
        run = _Run(self._connected(), desk, groups)
        crew = Crew(groups, desk, run.data.is_done)
        for _ in range(min(self.jobs, len(groups))):
            crew.add(RayHand(run, crew.tell))
        return crew

    def _connected(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(self._options)
        return self._cluster


class _Run:
    """What the hands of a run share."""

    def __init__(self, cluster: Cluster, desk: Desk, groups: Sequence[Group]) -> None:
        self.cluster, self.desk = cluster, desk
        self.place = _absolute(desk.place)
        _require_one_count(self.place, cluster)
        self.data = NodeData(cluster, self.place, groups)
        self.losses: Counter[str] = Counter()


class NodeData:
    """Data of cells: prepared once on each node, and kept there as long as a group still wants them."""

    def __init__(self, cluster: Cluster, place: Workplace, groups: Sequence[Group]) -> None:
        self._cluster, self._place = cluster, place
        self._wanted = Counter(group[0].data_key for group in groups)
        self._found: dict[object, dict[str, tuple[Any, Any]]] = {}
        self._lock = threading.Lock()

    def of(self, cell: Cell, node: Node) -> Any:
        """The reference to the parcel of a cell's data on a node; a BenchError where it cannot be prepared there."""
        with self._lock:
            by_node = self._found.setdefault(cell.data_key, {})
            if node.id not in by_node:
                by_node[node.id] = self._cluster.prepared(self._place, cell, node)
            fault, parcel = by_node[node.id]
        try:
            reason = self._cluster.ray.get(fault)
        except BaseException:
            with self._lock:
                by_node.pop(node.id, None)
            raise
        if reason is not None:
            where = f"on the Ray node {node.address}: " if self._cluster.address else ""
            raise BenchError(f"{where}{reason}")
        return parcel

    def is_done(self, group: Group) -> None:
        """One group less wants its data."""
        key = group[0].data_key
        with self._lock:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                self._found.pop(key, None)


class RayHand:
    """The driver's side of an actor; a new one takes its place when it is lost."""

    def __init__(self, run: _Run, tell: Callable[[Told], None]) -> None:
        self._run, self._tell = run, tell
        self._ray = run.cluster.ray
        self._actor: Any = None
        self._node: Node | None = None
        self._is_killed = False

    def is_ready(self, is_wanted: Callable[[], bool]) -> bool:
        """As `Hand.is_ready`: a node must have room for its actor."""
        if self._node is not None:
            return True
        why = ""
        for _ in range(MAX_LOSSES + 1):
            if self._is_killed:
                return False
            self._actor = self._run.cluster.slot(self._run.place)
            try:
                return self._is_placed(self._actor, is_wanted)
            except self._ray.exceptions.RayError as error:
                self.close()
                why = _last_line(error)
        raise BenchError(f"no process for runs can be started on the Ray cluster: {why}")

    def run(self, cell: Cell) -> Event:
        """As `Hand.run`; a cell that is lost too often gets a record that says so."""
        assert self._node is not None
        begun: Record | None = None
        try:
            parcel = self._run.data.of(cell, self._node)
            for kind, values in self._messages(cell, parcel):
                if kind is Finished:
                    return Event(cell, self._run.desk.keep(*values), is_finished=True)
                if kind is Event:
                    begun = values[0]
                    self._require_same_code(cell, begun)
                self._tell(kind(cell, *values))
            raise AssertionError(f"{cell.run_id} ended without a record")
        except self._ray.exceptions.RayError as error:
            if not self._run.cluster.is_loss(error):
                raise _told_by(error) from None
            self.close()
            return self._lost(cell, begun, error)

    def kill(self) -> None:
        """As `Hand.kill`; the method's process ends with the actor's."""
        self._is_killed = True
        self.close()

    def close(self) -> None:
        """End the actor and give back its resources."""
        actor, self._actor, self._node = self._actor, None, None
        if actor is not None:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)

    def _is_placed(self, actor: Any, is_wanted: Callable[[], bool]) -> bool:
        """Wait for the actor; False where it is wanted no more."""
        greeting = actor.ready.remote()
        without_room_since: float | None = None
        while not self._ray.wait([greeting], timeout=_LOOK_AGAIN_S)[0]:
            if not is_wanted():
                self.close()
                return False
            without_room_since = self._require_room(without_room_since)
        self._node = self._ray.get(greeting)
        return True

    def _require_room(self, since: float | None) -> float | None:
        """Since when no node can hold a cell; a BenchError when that lasts."""
        if self._run.cluster.room():
            return None
        now = time.monotonic()
        if since is not None and now - since > _NO_ROOM_S:
            raise BenchError(f"for {_NO_ROOM_S:g} s no node of the Ray cluster has had room for a run: add one")
        return now if since is None else since

    def _messages(self, cell: Cell, parcel: Any) -> Iterator[tuple[type[Any], tuple[Any, ...]]]:
        for message in self._actor.run.options(num_returns="streaming").remote(cell, [parcel]):
            yield self._ray.get(message)

    def _require_same_code(self, cell: Cell, begun: Record) -> None:
        assert self._node is not None
        if begun["code"] != self._run.desk.code.of_cell(cell):
            raise BenchError(
                f"the Ray node {self._node.address} has other code of '{cell.method.label}', or of bench, than this "
                "machine: install the same there"
            )

    def _lost(self, cell: Cell, begun: Record | None, error: BaseException) -> Event:
        self._run.losses[cell.run_id] += 1
        n_losses = self._run.losses[cell.run_id]
        if n_losses <= MAX_LOSSES or self._is_killed:
            raise LostError
        if begun is None:
            raise BenchError(f"the data of {cell.method.label} cannot be prepared on Ray: {_last_line(error)}")
        begun |= {"status": "error", "reason": f"its Ray worker or node was lost {n_losses} times"}
        return Event(cell, self._run.desk.keep(begun, None), is_finished=True)


def _absolute(place: Workplace) -> Workplace:
    """The same with paths that do not depend on the folder of a process; what only the driver needs stays here."""
    folder, service = place.catalogue.data_dir, place.service
    catalogue = dataclasses.replace(place.catalogue, data_dir=folder and folder.absolute())
    paths: dict[str, Any] = {name: path.absolute() for name, path in vars(service).items() if isinstance(path, Path)}
    asking = dataclasses.replace(service, **paths)
    return dataclasses.replace(place, out=place.out.absolute(), catalogue=catalogue, service=asking, stale={})


def _require_one_count(place: Workplace, cluster: Cluster) -> None:
    """Limits on what chat models cost are counted in a file of this machine."""
    if cluster.n_nodes > 1 and (place.service.max_calls or place.service.max_cost):
        raise BenchError(
            "--max-calls and --max-cost hold on one machine, and the Ray cluster has "
            f"{cluster.n_nodes} nodes: leave them out, or ask without --executor ray"
        )


def _told_by(error: Any) -> BaseException:
    """What the code over there raised."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BenchError) else error


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
