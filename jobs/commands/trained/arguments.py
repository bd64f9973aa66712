"""Arguments of the verbs that use what was trained: decode, export, transcribe.

In:   a parser.   Out: the same parser with these verbs.
Not here: what they do (decode.py, export.py, transcribe.py).
"""

from pathlib import Path

from jobs.commands.arguments import Subparsers, add_run_argument, add_set_option, add_verb


def add_trained_verbs(subparsers: Subparsers) -> None:
    decode = add_verb(
        subparsers,
        "decode",
        "Weights that are not stated are chosen on dev. The run is not trained again; the texts go "
        "to decodings/ in its folder.",
    )
    add_run_argument(decode)
    add_set_option(decode, example="ngram=3")

    export = add_verb(subparsers, "export", "The last decoding of the run goes with it.")
    add_run_argument(export)
    export.add_argument(
        "--output",
        "-o",
        type=Path,
        metavar="FILE",
        help="the file (default: exports/RUN.pt in the work folder)",
    )
    export.add_argument(
        "--licence", default="", metavar="TEXT", help="of the model, for its card (default: none)"
    )

    transcribe = add_verb(
        subparsers,
        "transcribe",
        "The run's last decoding gives the lexicon and the n-gram model; without one the search is "
        "greedy.",
    )
    add_run_argument(transcribe, "; or a file of make export")
    transcribe.add_argument(
        "audio", type=Path, nargs="+", metavar="AUDIO", help="sound files, or folders of them"
    )
    transcribe.add_argument(
        "--format",
        choices=("text", "json", "ctm", "csv", "srt", "vtt", "textgrid"),
        default="text",
        help="what is written of each recording (default: text)",
    )
    transcribe.add_argument(
        "--output",
        "-o",
        type=Path,
        metavar="FOLDER",
        help="write a file for each recording (default: print)",
    )
