"""Data sets of image files in class folders, which are too large for memory: ImageNet.

`settings` holds the keys that say how files become images, `files_and_labels` the files and labels of one
part, `crops` draws which part of an image is shown, `decode` decodes just that, `workers` runs such work in
processes, and `batches` makes batches by them. `listing` finds the files, `broken_files` decodes each once,
`index` keeps what was found, and `imagenet` is the data set, whose original tar files `tars` unpacks.
"""
