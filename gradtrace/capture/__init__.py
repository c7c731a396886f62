"""Everything that touches a running torch program."""
