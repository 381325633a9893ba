"""The four kinds of patches, as pure functions of documents."""
