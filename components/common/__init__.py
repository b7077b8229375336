"""What every room may use: errors, settings, files, progress, locks, task records and the release manifest's format."""
