"""What makes and checks the site.

`hooks` is what mkdocs calls while it builds, with `katex` (equations) and `messages` (the list of every
refusal). `blocks` finds the code blocks of a page and what is noted above them, `play` runs them as a reader
would, and `outputs` writes the outputs that pages show.
"""
