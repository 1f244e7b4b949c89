"""One report of what a run left behind: `python reports/run.py runs/h1_small out=report.html`.

Takes training or demonstrator folders (several: seeds of one curve), a distillation folder, the
saved output of `make faults` or of an evaluation, or a recording (.mcap). `out=` ends in .html
(plots inside) or .md (plots beside it). The last line is JSON.
"""

import sys


def main() -> None:
    """Read the command line, write the report."""
    from reports.write import from_words

    sys.exit(from_words(sys.argv[1:], __doc__ or ""))


if __name__ == "__main__":
    main()
