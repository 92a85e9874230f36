"""DVS128 Gesture (Amir et al. 2017): 11 gestures by 29 people, cut out of long recordings by label files.

The folder DvsGesture holds userNN_LIGHT.aedat (AEDAT 3.1), userNN_LIGHT_labels.csv (one line per gesture:
class, counted from 1, start and end in microseconds), and trials_to_train.txt and trials_to_test.txt, which
list the .aedat files.
"""

from pathlib import Path

from rbp.data.events.framing import Framing
from rbp.data.events.prepare.prepare import EventSet
from rbp.data.events.prepare.sources import FoundRecordings, NoRecordings
from rbp.data.events.recordings import Recording
from rbp.data.events.splitting import require_default_split
from rbp.data.files import broken
from rbp.errors import DataError

CLASSES = 11
_LISTS = ("trials_to_train.txt", "trials_to_test.txt")
_PLACES = ("", "DvsGesture", "extract/DvsGesture")
_HEAD = "class,startTime_usec,endTime_usec"


def find(root: Path, framing: Framing) -> FoundRecordings:
    """Find the gestures in the training list and in the test list.

    Raises:
        NoRecordings: If there is no folder with both lists.
        DataError: If files are missing, or a list or label file is wrong.
    """
    folder = next((root / p for p in _PLACES if all((root / p / name).is_file() for name in _LISTS)), None)
    if folder is None:
        raise NoRecordings(
            f"dataset.root={root}: DVS128 Gesture is not there. Expected in it, or in its DvsGesture: "
            f"{', '.join(_LISTS)}, userNN_LIGHT.aedat and userNN_LIGHT_labels.csv, from DvsGesture.tar.gz"
        )
    require_default_split(framing, f"the recordings in {folder}")
    train, test = (_of_list(folder / name) for name in _LISTS)
    if both := sorted({gesture.file.name for gesture in train} & {gesture.file.name for gesture in test}):
        raise DataError(f"{folder}: {', '.join(_LISTS)} both list {', '.join(both)}; each may be in one only")
    return FoundRecordings(train, test, f"aedat3 in {folder}")


def _of_list(file: Path) -> list[Recording]:
    names = [line.strip() for line in _lines(file) if line.strip()]
    if not names:
        raise broken(file, "lists no recordings")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise broken(file, f"lists {', '.join(twice)} more than once")
    if missing := [name for name in names if not _is_there(file.parent / name)]:
        raise DataError(f"{file.parent}: DVS128 Gesture is incomplete, missing: {', '.join(missing)}")
    return [gesture for name in names for gesture in _gestures(file.parent / name)]


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # not a valid file name
        return False


def _gestures(session: Path) -> list[Recording]:
    """Return the gestures of one .aedat file, as given by its label file."""
    labels = session.with_name(f"{session.stem}_labels.csv")
    head, *lines = [line.strip() for line in _lines(labels) if line.strip()] or [""]
    if head.replace(" ", "") != _HEAD:
        raise broken(labels, f"begins with {head!r:.60}, not {_HEAD}")
    if not lines:
        raise broken(labels, "has no gestures")
    return [
        Recording(f"{session.stem}_{n}", "aedat3", session, label, span=(start, end))
        for n, (label, start, end) in enumerate(_gesture(line, labels) for line in lines)
    ]


def _gesture(line: str, file: Path) -> tuple[int, int, int]:
    try:
        number, start, end = map(int, line.split(","))
    except ValueError as error:
        raise broken(file, f"has the line {line!r:.60}; must be three whole numbers") from error
    if not 1 <= number <= CLASSES:
        raise broken(file, f"has a class {number}; classes go from 1 to {CLASSES}")
    if not 0 <= start < end < 2**63:
        raise broken(file, f"has a gesture from {start} to {end} microseconds")
    return number - 1, start, end


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise broken(file, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


dvs128_gesture = EventSet("dvs128_gesture", "DVS128 Gesture", CLASSES, find)
