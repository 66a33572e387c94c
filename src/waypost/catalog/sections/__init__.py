"""One file a section of the catalog."""
