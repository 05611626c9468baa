"""The kinds of tables that users bring, row by row: csv, lines of JSON, parquet."""
