"""As on the command line: threads that wait spin briefly, so that two test processes leave each other the cores."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
