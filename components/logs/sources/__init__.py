"""Where a log may come from: each source is a file of its own that translates one public form into the contract."""
