"""The folder of a run on disk and the files in it.

`folder` names the files and finds run folders. `config` reads and writes config.yaml, `status` does so with
status.json, `metrics` reads metrics.jsonl, and `result` reads result.json, of which `energy` has the
operations. `checkpoints` decides which
checkpoint counts and which ones a finished run keeps, and `older_results` moves results of earlier code
aside.

As a function, `rbp.runs(PATH)` returns the runs below a folder as a pandas DataFrame (see rbp.report.frame).
"""
