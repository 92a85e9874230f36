"""Readers of the file formats of recordings.

`aedat2` reads AEDAT 2.0 (CIFAR10-DVS), `aedat3` AEDAT 3.1 (DVS128 Gesture), `events_np` the .npz files that
SpikingJelly writes, and `pairs` the published code's .pt files of frames and label.
"""
