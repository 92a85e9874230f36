"""The table of a report in Markdown."""

from rbp.report.texts.table import Table, labelled_notes


def markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown, with the notes below it."""
    left, of_difference = len(table.keys), table.difference
    rule = ["---"] * left + ["---:"] * len(table.figures)
    marks = str.maketrans({"<": "&lt;", "&": "&amp;", "\n": " ", **{c: f"\\{c}" for c in "\\|*_`[!~$"}})
    rows = [
        [
            f"**{text.translate(marks)}**" if sure and index == of_difference else text.translate(marks)
            for index, text in enumerate(row)
        ]
        for row, sure in zip(table.rows, table.sure, strict=True)
    ]
    lines = [[title.translate(marks) for title in table.titles], rule, *rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = [f"- {label}: {note}".translate(marks) for label, note in labelled_notes(table)]
    return "\n".join([text, "", table.about.translate(marks), *(["", *notes] if notes else []), ""])
