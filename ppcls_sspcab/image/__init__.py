"""Picture files: found, decoded, preprocessed, drawn upon."""
