"""The expectation suites as JSON files, one a table; see `components.validation.expectations`."""
