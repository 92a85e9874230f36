"""The figures of a report, as SVG: the same text is a file for a paper and a part of the page.

What is shown: `figure` has figures, axes and series as plain values, `sets` says which figures a report has,
and `series`, `curves` (over epochs) and `over_t` (over time steps) compute them from comparisons. How it is
drawn: `svg` draws any figure, `axes` its axes, `marks` its series, with `scales` and pieces of `markup`;
`style` has names, colours and markers of the gradient modes.
"""
