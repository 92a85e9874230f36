"""Decode AEDAT 4 with the package `aedat`, in a process of its own: damaged bytes can make it abort.

This file is run as a script, by `aedat4_process`, and imports nothing of rbp: so it starts in a fraction of a
second. For each size (SIZE) and content of a file on its input it writes a line of JSON, and the events
(EVENT), to its output. It ends where its input does.
"""

import json
import os
import resource
import signal
import struct
import sys
from importlib import import_module
from typing import Any

import numpy as np

SIZE = struct.Struct("<Q")
EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
_MEMORY = 2**32  # bytes; damaged sizes can ask for more
_LEFT_TO_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main() -> None:
    """Answer until the input ends."""
    import_module("aedat")  # ends the process where it does not load, which is no fault of a file
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for number in _LEFT_TO_PARENT:  # what ends or preempts a job also reaches this process
        signal.signal(number, signal.SIG_IGN)
    contents, answers = sys.stdin.buffer, sys.stdout.buffer
    while size := contents.read(SIZE.size):
        head, events = _answer(contents.read(*SIZE.unpack(size)))
        answers.write(json.dumps(head).encode() + b"\n")
        answers.write(events.tobytes())
        answers.flush()


def _answer(content: bytes) -> tuple[dict[str, Any], np.ndarray]:
    """Return what was found, and the events.

    Returns:
        {"streams": [[width, height], ...] of the streams of events, "n": number of events} and the events, or
        {"error": reason} and none.
    """
    try:
        sizes, events = _decode(content)
    except BaseException as error:  # a panic of Rust is no Exception
        return {"error": str(error) or type(error).__name__}, np.empty(0, EVENT)
    return {"streams": sizes, "n": len(events)}, events


def _decode(content: bytes) -> tuple[list[list[int]], np.ndarray]:
    import aedat

    descriptor = os.memfd_create("recording")  # aedat reads files only
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        decoder = aedat.Decoder(f"/proc/self/fd/{descriptor}")
        packets = [packet["events"] for packet in decoder if "events" in packet]
    finally:
        os.close(descriptor)
    streams = decoder.id_to_stream().values()
    sizes = [[stream["width"], stream["height"]] for stream in streams if stream["type"] == "events"]
    return sizes, _joined(packets)


def _joined(packets: list[np.ndarray]) -> np.ndarray:
    events = np.empty(sum(map(len, packets)), EVENT)
    first = 0
    for packet in packets:
        part = events[first : first + len(packet)]
        for ours, theirs in {"t": "t", "x": "x", "y": "y", "p": "on"}.items():
            part[ours] = packet[theirs]
        first += len(packet)
    return events


if __name__ == "__main__":
    main()
