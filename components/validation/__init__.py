"""The data gate: row checks and quarantine, statistics per day, drift, expectation suites, one verdict."""
