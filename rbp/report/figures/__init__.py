"""The figures of a report: what they show, and how plotly and matplotlib draw it."""
