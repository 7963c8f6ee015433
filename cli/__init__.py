"""The command line: commands, one file each, and how results are shown. No mathematics here."""
