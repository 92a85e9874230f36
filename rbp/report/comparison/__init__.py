"""What a report compares, and the numbers of it.

`settings` has the keys by which runs differ, `axes` decides what is compared and what is on the x axis, and
`groups` groups runs for it. `rows` computes the rows of the table, with `costs` (time and memory) and
`statistics` (means, paired differences and Holm's correction). `training` computes what it takes to reach the
same accuracy.
"""
