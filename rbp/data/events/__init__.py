"""Event data sets: recordings of event cameras and their conversion to frames.

`events` holds the events of a recording and counts them in frames, `framing` the settings that decide the
frames. `recordings` reads one recording and turns it into frames, with `resize` for the size of the frames.
`splitting` splits recordings into training and test sets, and `camera` simulates an event camera. `readers`
has the file formats, `sets` the data sets, and `prepare` makes the frames once and stores them on disk.
"""
