"""Raw files to graphs, one file per source."""

NOT_EXTENSIONS = frozenset(
    {"alloy_model", "lsms_file", "mixing", "parallel", "raw_files", "smiles_molecule", "smiles_table"}
)
