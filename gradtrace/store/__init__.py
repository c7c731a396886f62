"""A trace at rest: `writer.Writer` appends to one file, `recording.Recording` reads it."""
