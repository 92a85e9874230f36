"""What a report says as text: its table, and its runs for other programs.

`table` has the table's cells, `markdown` and `latex` write it so. `tidy` has the runs as plain records, one a
run or one an epoch, and `csv` writes these as CSV.
"""
