"""What a report says as text: its table, and its runs for other programs.

`table` has the table's cells, `training` those of a second table on the course of training; `markdown` and
`latex` write them so. `tidy` has the runs as plain records, one a run or one an epoch, and `csv` writes these
as CSV.
"""
