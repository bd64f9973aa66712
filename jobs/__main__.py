"""`python -m jobs VERB …` is `blankslate VERB …`."""

import sys

from jobs.cli import main

if __name__ == "__main__":
    sys.exit(main())
