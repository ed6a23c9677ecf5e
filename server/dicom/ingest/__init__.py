"""From a received file to the description of its instance: identity, validation, metadata, index values, frame
layout."""
