"""Settings: schemas, strict YAML, identities."""
