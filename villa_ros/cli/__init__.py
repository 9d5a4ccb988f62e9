"""The `villa` command: one file for each group of subcommands, and the tables that they print."""
