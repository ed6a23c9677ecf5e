"""One received file to a description of its instance: identity, validation, metadata, index values, frame layout."""
