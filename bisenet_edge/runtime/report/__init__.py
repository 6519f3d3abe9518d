"""The report of an artifact: report.json and report.html. Begin at `sections`."""
