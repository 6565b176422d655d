"""The ways to reach a person, one a file, all behind one protocol."""
