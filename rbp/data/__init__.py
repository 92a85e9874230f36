"""Data sets: turn a `dataset` config group into batches of normalised images.

`loading` reads the data set that a config names, `images` holds its pixels and labels, `holdout` splits off a
validation or test set, and `batches` yields training and evaluation batches. `files` and `archives` read
files that may be missing or damaged, `checksummed_json` reads and writes JSON that must be whole, `stage`
copies a data set to the node's local disk, and `transfer` moves tensors to the GPU without blocking.
`processes` has what worker processes need. `augmentation` changes training images at random. `static` has the
image data sets, `image_files` those that are too large for memory, `events` the data sets recorded with event
cameras.
"""

from rbp.data.batches import eval_batches, n_train_batches, train_batches
from rbp.data.image_files.files_and_labels import ImageFiles
from rbp.data.images import Images, Splits
from rbp.data.loading import load

__all__ = ["ImageFiles", "Images", "Splits", "eval_batches", "load", "n_train_batches", "train_batches"]
