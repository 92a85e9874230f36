"""How a network handles the time axis, in its input and in its output.

`layout` names the cases (step, TB, BT, static); `probe` infers which one a network is; `time_first` reads the
input; `outputs` picks the output and takes its time mean.
"""
