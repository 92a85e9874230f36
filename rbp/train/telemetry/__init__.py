"""What is measured, shown and written while a run trains.

Modules: `costs` (time and memory of training steps), `display` (progress bar or plain lines), `memory`
(out-of-memory errors with advice), `progress` (progress and remaining time), `record` (the files of the run
folder).
"""
