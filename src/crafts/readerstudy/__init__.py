"""Reader studies: blinded items, recorded readings, and statistics that generalise."""
