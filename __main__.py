"""`python -m advverify`."""

from advverify.cli.main import main

main()
