"""The figures of a report.

`series` computes what the figures show, `plotly` draws them for the page and `svg` with matplotlib as files;
`style` has the names, colours and markers of the gradient modes.
"""
