"""A manifest -> HDF5 shards of amplitude, power or mel features; FORMAT.md is the specification."""
