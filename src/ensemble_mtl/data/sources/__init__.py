"""Raw files to graphs, one file per source."""
