"""The Parquet export. Only this package imports pyarrow."""
