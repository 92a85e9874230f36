"""What runs reached and cost, read from their folders and written side by side: page, tables, figures."""

from rbp.report.write import write_report as write_report
