"""Exit codes of the program and of its tasks.

In:   nothing.   Out: numbers that a shell, a batch script and a parent process read.
Not here: exit codes of other programs (node/failures.py explains them).
"""

DONE = 0
FAILED = 1
BAD_INPUT = 2
STOPPED = 75  # "temporary failure" of sysexits: state was saved; the same command continues
REQUEUE = 76  # as STOPPED, and the batch script must ask SLURM to requeue the job
DISK_FULL = 77  # the work folder takes no file, so that nothing else can say it
UNFLUSHED = 120  # Python's own: its output could not be written at the end
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
