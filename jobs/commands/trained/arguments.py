"""Arguments of the verbs that use what was trained: align, decode, export, outputs, transcribe.

In:   a parser.   Out: the same parser with these verbs.
Not here: what they do (align.py, decode.py, export.py, outputs.py, transcribe.py).
"""

from pathlib import Path

from jobs.commands.arguments import (
    Subparsers,
    add_output_option,
    add_run_argument,
    add_set_option,
    add_split_option,
    add_sweep_option,
    add_verb,
)

TRAINED_VERBS = ("decode", "align", "transcribe", "export", "outputs")  # each in its own module


def add_trained_verbs(subparsers: Subparsers) -> None:
    _add_decode(subparsers)
    _add_align(subparsers)
    _add_export(subparsers)
    _add_outputs(subparsers)
    _add_transcribe(subparsers)


def _add_decode(subparsers: Subparsers) -> None:
    decode = add_verb(
        subparsers,
        "decode",
        "Weights that are not stated are chosen on dev. The run is not trained again; the texts go "
        "to decodings/ in its folder.",
    )
    add_run_argument(decode, optional=True)
    add_sweep_option(
        decode, "all finished runs of this sweep: its file or its name (default: the run)"
    )
    add_set_option(decode, example="ngram=3")


def _add_export(subparsers: Subparsers) -> None:
    export = add_verb(subparsers, "export", "The last decoding of the run goes with it.")
    add_run_argument(export)
    add_output_option(export, "the file (default: exports/RUN.pt or .onnx in the work folder)")
    export.add_argument(
        "--format",
        choices=("pt", "onnx"),
        default="pt",
        help="pt: for make transcribe, with lexicon and n-gram; onnx: the network and its features "
        "for onnxruntime, with the tokens and a program that transcribes (default: pt)",
    )
    export.add_argument(
        "--licence", default="", metavar="TEXT", help="of the model, for its card (default: none)"
    )


def _add_outputs(subparsers: Subparsers) -> None:
    outputs = add_verb(
        subparsers, "outputs", "pipeline/training/trained/outputs.py says what the file holds."
    )
    add_run_argument(outputs)
    outputs.add_argument(
        "--corpus",
        type=Path,
        metavar="FILE",
        help="the YAML file of a corpus; its features are computed as the run's were (default: the "
        "corpus of the run)",
    )
    add_split_option(outputs, "may be repeated (default: all)")
    add_output_option(outputs, "the file (default: exports/RUN-CORPUS.h5 in the work folder)")


def _add_transcribe(subparsers: Subparsers) -> None:
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
    add_output_option(
        transcribe, "write a file for each recording (default: print)", metavar="FOLDER"
    )


def _add_align(subparsers: Subparsers) -> None:
    verb = add_verb(
        subparsers,
        "align",
        "The files go to alignments/ in the run's folder. The same command again continues it.",
    )
    add_run_argument(verb, "; with --audio also a file of make export")
    add_split_option(verb, "only this split; may be repeated (default: all that have texts)")
    verb.add_argument(
        "--hypotheses",
        action="store_true",
        help="align what the run recognised in dev and test (default: the transcripts)",
    )
    verb.add_argument(
        "--format",
        choices=("csv", "ctm", "textgrid", "srt", "vtt"),
        default="csv",
        help="csv and ctm: one file per split; the others: one per utterance (default: csv)",
    )
    verb.add_argument(
        "--utterance", metavar="ID", help="align and draw this utterance (default: none is drawn)"
    )
    verb.add_argument(
        "--audio",
        type=Path,
        metavar="FILE",
        help="align a recording of your own with its text (default: the splits)",
    )
    verb.add_argument(
        "--text", help="what is said in the recording, or a .txt file with it (default: none)"
    )
    add_output_option(
        verb,
        "another folder; of an utterance the .png or .svg file (default: in the run's)",
        metavar="PATH",
    )
