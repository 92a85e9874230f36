"""Prepare the frames of an event data set once: on all cores, resumable, never left incomplete.

Everything is made in a folder `.building-NAME`, which is renamed to NAME once it is complete.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rbp.cores import usable_cores
from rbp.data.events.framing import Framing
from rbp.data.events.prepare.joining import join, put_in_place
from rbp.data.events.prepare.manifest import MANIFEST, PARTS, frame_settings, open_prepared, read_manifest
from rbp.data.events.prepare.shards import make_all, plan, unwritable
from rbp.data.events.prepare.sources import FoundRecordings, NoRecordings, fingerprint
from rbp.data.events.recordings import require_packages
from rbp.data.images import Images
from rbp.errors import ConfigError, DataError
from rbp.files import read_json, write_json
from rbp.locks import try_lock
from rbp.terminal.output import Screen, say


@dataclass(frozen=True)
class EventSet:
    """An event data set, to be used as a `_target_` of a `dataset` config group.

    Attributes:
        name: Name of the data set, as in `dataset.name`.
        title: Name for people.
        classes: Number of classes.
        find: Function (root, framing) that finds the recordings and splits them.
    """

    name: str
    title: str
    classes: int
    find: Callable[[Path, Framing], FoundRecordings]

    def __call__(self, root: str, download: bool, framing: Framing) -> tuple[Images, Images]:
        """Return (train, test) with pixels [N, T, 2, size, size], after preparing them if necessary.

        Raises:
            ConfigError: If `download` is set.
            DataError: If recordings are missing or broken, or the frames are damaged or were made from other
                recordings.
        """
        if download:
            raise ConfigError(
                f"dataset.download=true: {self.title} is not fetched by this program; set it to false"
            )
        top = Path(root).expanduser()
        folder = framing.folder(self.name, top)
        manifest = read_manifest(folder, self.name, framing)
        if manifest is None:
            say(f"{self.title} is not prepared for T={framing.T} yet: that is done now, once.")
            manifest = self.prepare(top, framing)
        else:
            self._refuse_changes(top, framing, folder, manifest)
        return open_prepared(folder, manifest)

    def prepare(self, root: Path, framing: Framing, workers: int | None = None) -> dict[str, Any]:
        """Make the frames, unless they exist for just these recordings, and return their manifest.

        Args:
            root: Folder of the data set.
            framing: Settings of the frames.
            workers: Number of processes; None for one per usable core.

        Raises:
            ConfigError: If a package that reads the recordings is not installed.
            DataError: If recordings are missing or broken, another process is preparing the same frames, or
                files cannot be written.
        """
        folder = framing.folder(self.name, root)
        found = self.find(root, framing)
        if found.note:
            say(found.note)
        source = fingerprint(found, root)
        if manifest := self._made_of(source, folder, framing):  # checked before anything is written
            return manifest
        require_packages([*found.train, *found.test])
        building = folder.with_name(f".building-{folder.name}")
        try:
            building.mkdir(parents=True, exist_ok=True)
            with _locked(building.with_name(f"{building.name}.lock")):
                if manifest := self._made_of(source, folder, framing):  # made by another process meanwhile
                    shutil.rmtree(building)
                    return manifest
                return _build(self, found, source, framing, building, folder, workers or usable_cores())
        except OSError as error:
            raise unwritable(building, error) from error

    def _made_of(self, source: str, folder: Path, framing: Framing) -> dict[str, Any] | None:
        """Return the manifest if the frames exist and were made from just these recordings, else None."""
        manifest = read_manifest(folder, self.name, framing)
        if manifest is None or manifest["source"]["fingerprint"] != source:
            return None
        say(f"{folder} is prepared already.")
        return manifest

    def _refuse_changes(self, root: Path, framing: Framing, folder: Path, manifest: dict[str, Any]) -> None:
        """Raise DataError if there are recordings but the frames were made from different ones."""
        try:
            if fingerprint(self.find(root, framing), root) == manifest["source"]["fingerprint"]:
                return
            why = f"not of the recordings as they are in {root} now"
        except NoRecordings:  # the prepared frames are sufficient
            return
        except DataError as error:
            why = f"its recordings were changed since: {error}"
        raise DataError(
            f"{folder}: was prepared, but {why}. Prepare it again (rbp data prepare {self.name}, same keys), "
            "or move all recordings away to train on what was prepared"
        )


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the lock of a preparation inside the block; raise DataError if another process holds it."""
    lock = try_lock(file, holder=f"pid {os.getpid()}")
    if lock is None:
        holder = file.read_text("utf-8").strip() or "unknown"
        raise DataError(f"{file}: another process prepares these frames ({holder}); wait for it")
    with lock:
        yield


def _build(
    data: EventSet,
    found: FoundRecordings,
    source: str,
    framing: Framing,
    building: Path,
    folder: Path,
    workers: int,
) -> dict[str, Any]:
    """Make the missing shards, join them, and move the result to its final folder."""
    made_of = frame_settings(data.name, framing) | {"source": source}
    if read_json(building / "plan.json") != made_of:  # made from other files: nothing is reusable
        shutil.rmtree(building)
        building.mkdir()
        write_json(building / "plan.json", made_of)
    shards = plan({"train": found.train, "test": found.test}, framing, data.classes, building)
    start = time.perf_counter()
    with _progress() as progress:
        task = progress.add_task(f"{data.title} T={framing.T}", total=len(found.train) + len(found.test))
        for recordings in make_all(shards, workers):
            progress.advance(task, recordings)
    about = {
        "made_of": frame_settings(data.name, framing),
        "source": {"found_as": found.source, "fingerprint": source},
    }
    manifest = join(data.title, shards, about, building)
    seconds = time.perf_counter() - start
    put_in_place(building, folder)
    say(_summary(manifest, folder, seconds))
    return manifest


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
    screen = Screen(stderr=True)
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)


def _summary(manifest: dict[str, Any], folder: Path, seconds: float) -> str:
    n = {part: len(manifest["parts"][part]["recordings"]) for part in PARTS}
    size = sum(file.stat().st_size for file in folder.iterdir())
    lines = [
        f"{folder}: {n['train']:,} training and {n['test']:,} test recordings, {manifest['events']:,} events "
        f"in {seconds:.1f} s ({manifest['events'] / seconds / 1e6:.1f} million/s), {size / 2**20:,.1f} MiB"
    ]
    if skipped := manifest["skipped"]:
        lines.append(f"skipped {len(skipped)}, listed in {MANIFEST}:")
        lines += [f"  {entry['why']}" for entry in skipped[:10]]
    return "\n".join(lines)
