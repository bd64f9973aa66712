"""`python -m jobs VERB …` is `blankslate VERB …`."""

import sys

from jobs.commands.parser import main

if __name__ == "__main__":
    sys.exit(main())
