"""What a forward pass keeps: the traces of its layers, and the means of storing or computing less.

`forward_pass` is the state of one pass, `traces` what a layer keeps in it, `segments` how time is cut.
`currents`, `lazy`, `chunking`, `packing` and `folding` put off or shorten work on sequences; `moments` sums
statistics, `draws` repeats random numbers at every step.
"""
