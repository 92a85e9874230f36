"""`rbp data`: prepare event data or image files ahead of training, and measure how fast images are read."""

import argparse
from pathlib import Path

from rbp.data.events.framing import framing_of
from rbp.data.events.prepare.prepare import EventSet
from rbp.data.image_files.imagenet import ImageFolders
from rbp.data.image_files.settings import file_settings_of
from rbp.data.loading import find_reader
from rbp.errors import ConfigError
from rbp.sweep.grid.command_line import expand
from rbp.sweep.grid.compose import compose_grid
from rbp.terminal.output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp data`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    prepare_ = commands.add_parser(
        "prepare", help="make the frames of event data, or the index of image files"
    )
    prepare_.add_argument("name", help="an option of the group dataset, such as cifar10_dvs")
    prepare_.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="as for launch.py: dataset.root=PATH T=4,8,10"
    )
    prepare_.add_argument("--workers", type=int, help="processes (as many as there are cores)")
    prepare_.set_defaults(data=prepare)
    speed_ = commands.add_parser("speed", help="images a second and core, beside torchvision's ImageFolder")
    speed_.add_argument("name", help="an option of the group dataset of image files, such as imagenet")
    speed_.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="as for launch.py: dataset.root=PATH"
    )
    speed_.add_argument("--images", type=int, default=400, help="files of each part (400)")
    speed_.add_argument("--rounds", type=int, default=5, help="times that all are read (5)")
    speed_.set_defaults(data=speed)


def command(args: argparse.Namespace) -> int:
    """Run `rbp data prepare` or `rbp data speed`.

    Raises:
        UserError: An argument is wrong, or the data cannot be prepared or read.
    """
    return int(args.data(args))


def prepare(args: argparse.Namespace) -> int:
    """Make the frames for every framing that the overrides ask for, or unpack and index image files.

    Raises:
        UserError: An argument is wrong, or the data cannot be prepared.
    """
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers {args.workers}: must be 1 or more")
    overrides, _ = expand([f"dataset={args.name}", *args.overrides])
    datasets = {str(cell.values["dataset"]): cell.cfg.dataset for cell in compose_grid(overrides)}
    for dataset in datasets.values():
        reader, root = find_reader(dataset._target_), Path(dataset.root).expanduser()
        if isinstance(reader, EventSet) and (framing := framing_of(dataset)):
            reader.prepare(root, framing, args.workers)
        elif isinstance(reader, ImageFolders) and (settings := file_settings_of(dataset)):
            reader.prepare(root, settings, args.workers)
        else:
            say(f"{dataset.name} needs no preparation.")
    return 0


def speed(args: argparse.Namespace) -> int:
    """Print how many images a second one core reads, by torchvision and by rbp.

    Raises:
        UserError: An argument is wrong, or the data cannot be read.
    """
    from rbp.bench.reading_speed import measure

    for name in ("images", "rounds"):
        if (value := getattr(args, name)) < 1:
            raise ConfigError(f"--{name} {value}: must be 1 or more")
    overrides, _ = expand([f"dataset={args.name}", *args.overrides, "dataset.workers=0"])
    for cell in compose_grid(overrides):
        for what, (theirs, ours) in measure(cell.cfg.dataset, args.images, args.rounds).items():
            say(
                f"{what}: {ours:,.0f} images/s and core; torchvision's ImageFolder {theirs:,.0f} "
                f"({ours / theirs:.2f} times)"
            )
    return 0
