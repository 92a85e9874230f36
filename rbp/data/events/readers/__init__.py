"""Readers of the file formats of recordings.

`aedat2` reads AEDAT 2.0 (CIFAR10-DVS), `aedat3` AEDAT 3.1 (DVS128 Gesture), `aedat4` AEDAT 4.0 (CIFAR10-DVS
as tonic has it) in a process of its own (`aedat4_process`, `aedat4_child`), `nmnist` the .bin files of
N-MNIST, `events_np` the .npz files that SpikingJelly writes, and `pairs` the published code's .pt files of
frames and label.
"""
