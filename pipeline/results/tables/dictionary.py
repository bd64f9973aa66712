"""Dictionary: what each column of a report's tables is, its unit and its source.

In:   nothing.   Out: `COLUMNS`.
Not here: computing a column (summary/, comparison/, errors/), the text of columns.md (columns.py),
settings, which their models in pipeline/config/ describe.

A test fails if a table has a column that is not here.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Column(NamedTuple):
    meaning: str
    unit: str  # "fraction": 0 to 1, which pages show as percent
    source: str


ROWS, HYPOTHESES, ARMS = "rows.jsonl", "hypotheses.csv", "summary.csv, hypotheses.csv"
USAGE, RECORD = "usage.json", "the sweep file and SET"
ENVIRONMENT = "environment.json, of the last attempt"

IDENTITY_COLUMNS = {
    "sweep": Column("name of the sweep; several, separated by spaces, if each has it", "", RECORD),
    "corpus": Column("name of the corpus", "", "experiment.yaml"),
    "units": Column(
        "characters or phonemes: what rates called cer, and columns called char, count",
        "",
        "experiment.yaml",
    ),
    "label": Column("the run's or the arm's name: its swept values", "", RECORD),
    "run_id": Column("the run's folder in work/runs/; joins tables of runs", "", "experiment.yaml"),
    "state": Column(
        "finished, running, stopped, failed, waiting or missing", "", "heartbeat.json, failure.json"
    ),
    "cause": Column("why a failed run failed; empty: it did not", "", "failure.json"),
}
ROW_COLUMNS = {
    "epoch": Column("summary.csv: the epoch selected on dev; results.csv: of this row", "", ROWS),
    "split": Column("train, dev or test; test is scored once, at the selected epoch", "", ROWS),
    "updates": Column("updates of the weights since the start of the run", "updates", ROWS),
    "loss_per_utterance": Column("mean CTC loss of an utterance", "nats", ROWS),
    "loss_per_character": Column(
        "mean over utterances of the CTC loss per character, as torch's reduction=mean",
        "nats per character",
        ROWS,
    ),
    "reference_loss": Column(
        "loss of the best output that ignores the audio", "nats per character", ROWS
    ),
    "cer": Column("errors per character, with spaces; of phonemes the PER", "fraction", ROWS),
    "cer_no_spaces": Column(
        "character errors without spaces, over characters without spaces", "fraction", ROWS
    ),
    "wer": Column("word errors over words", "fraction", ROWS),
    "ser": Column("utterances with an error over utterances", "fraction", ROWS),
    "char_errors": Column("substituted, deleted and inserted characters", "characters", ROWS),
    "chars": Column("characters of the references", "characters", ROWS),
    "word_errors": Column("substituted, deleted and inserted words", "words", ROWS),
    "words": Column("words of the references", "words", ROWS),
    "utterances": Column("scored utterances of the split; of train: views", "utterances", ROWS),
    "infeasible": Column(
        "utterances left out: fewer output steps than the transcript needs", "utterances", ROWS
    ),
    "blank_argmax": Column("frames whose most probable class is the blank", "fraction", ROWS),
    "blank_posterior": Column("mean probability of the blank over frames", "fraction", ROWS),
    "empty_hypotheses": Column("utterances with an empty hypothesis", "utterances", ROWS),
    "input_dependence": Column(
        "entropy of the mean output less the mean entropy of the output; 0: the audio is ignored",
        "nats",
        ROWS,
    ),
    "clamp_saturation": Column("activations at the ceiling of the clamp", "fraction", ROWS),
    "grad_norm": Column("mean norm of the gradient before clipping", "", ROWS),
    "current_learning_rate": Column(
        "learning rate of the last update; the setting is train.learning_rate", "", ROWS
    ),
    "frames": Column("feature frames of the split", "frames", ROWS),
    "seconds": Column("time spent on the row; summary.csv: on all rows", "s", ROWS),
    "frames_per_second": Column("training frames per second of training", "frames/s", ROWS),
    "loader_wait": Column("share of the training time spent waiting for data", "fraction", ROWS),
    "peak_memory_bytes": Column(
        "peak memory of the GPU, or of the process on a CPU", "bytes", ROWS
    ),
    "emitted_chars": Column("characters of the hypotheses", "characters", ROWS),
    "length_ratio": Column("characters of the hypotheses over those of the references", "", ROWS),
    "largest_z": Column("largest absolute value of the network's input", "", ROWS),
    "update_size": Column("norm of an update over the norm of the weights", "", ROWS),
    "learning_rate_sum": Column("sum of the learning rates of the epoch's updates", "", ROWS),
    "skipped_updates": Column("updates skipped: a float16 gradient overflowed", "updates", ROWS),
    "nonfinite_utterances": Column(
        "utterances left out: their input is NaN or infinite", "utterances", ROWS
    ),
    "nonfinite_ids": Column("the first of these utterances, separated by spaces", "", ROWS),
    **{
        f"saturation_{layer}_{end}": Column(
            f"activations of {layer} at the {where} of the clamp", "fraction", ROWS
        )
        for layer in ("conv1", "conv2", "fc1", "fc2", "recurrent")
        for end, where in (("zero", "lower end, 0,"), ("ceiling", "upper end"))
    },
    "suspicious_utterances": Column(
        "utterances whose sound is silent, constant or scaled wrongly", "utterances", ROWS
    ),
    "weights": Column(
        "weights of the row. each update: of a training row; epoch: those after the epoch; ema: "
        "their moving average; mean of epochs …: train.average; empty: an earlier program",
        "",
        ROWS,
    ),
    "length_correlation": Column(
        "correlation of the lengths of recordings and transcripts; empty: not known", "", ROWS
    ),
}
RESULT_COLUMNS = {
    **{
        f"{split}_{rate}{end}": Column(
            f"{ROW_COLUMNS[rate].meaning}: {split}, at the selected epoch"
            if not end
            else f"{bound} end of the 95 % bootstrap interval of {split}_{rate} over utterances",
            "fraction",
            ROWS if not end else HYPOTHESES,
        )
        for split in ("dev", "test")
        for rate in ("cer", "cer_no_spaces", "wer", "ser")
        for end, bound in (("", ""), ("_low", "lower"), ("_high", "upper"))
    },
    "escape_updates": Column(
        "updates until the run left the blank plateau; empty: it has not", "updates", ROWS
    ),
    "host": Column("the computer that the run was last on", "", "heartbeat.json"),
    "cpus_asked": Column("CPUs that the last job requested", "CPUs", USAGE),
    "cpus_used": Column("CPU time over wall time", "CPUs", USAGE),
    "cpu_efficiency": Column("CPU time over wall time times requested CPUs", "fraction", USAGE),
    "memory_gib_asked": Column("memory that the last job requested", "GiB", USAGE),
    "peak_memory_gib": Column("peak memory of the run's processes", "GiB", USAGE),
    "gpu_busy": Column("samples in which the GPU was busy", "fraction", USAGE),
    "queue_seconds": Column("time in the queue, all jobs of the run", "s", USAGE),
    "attempts": Column("processes that trained the run", "", "environments.jsonl"),
    "commit": Column("commit of the code that made the run", "", ENVIRONMENT),
    "dirty": Column("whether the code differed from the commit; see code-*.patch", "", ENVIRONMENT),
    "code": Column("digest of all code that computes a run's numbers", "", ENVIRONMENT),
    "snapshot": Column("digest of all code that the job imported", "", ENVIRONMENT),
    "python": Column("version of Python", "", ENVIRONMENT),
    "torch": Column("version of torch", "", ENVIRONMENT),
    "numpy": Column("version of numpy", "", ENVIRONMENT),
    "cuda": Column("version of CUDA; empty: no GPU was used", "", ENVIRONMENT),
    "device": Column("the GPU, or cpu", "", ENVIRONMENT),
    "processor": Column("kind of the processor and its vector instructions", "", ENVIRONMENT),
    "threads": Column("threads of torch", "threads", ENVIRONMENT),
    "gpu_hours": Column("requested GPUs times wall time", "h", USAGE),
}
ARM_COLUMNS = {
    "seeds": Column("finished runs of the arm; they differ in their seed only", "runs", ARMS),
    "dev_cer_mean": Column("mean dev CER over the seeds", "fraction", ARMS),
    **{
        f"test_{rate}_mean{end}": Column(
            f"mean test {rate.upper()} over the seeds"
            if not end
            else f"{bound} end of the 95 % interval of test_{rate}_mean over seeds, utterances and "
            "speakers",
            "fraction",
            ARMS,
        )
        for rate in ("cer", "wer")
        for end, bound in (("", ""), ("_low", "lower"), ("_high", "upper"))
    },
    "test_cer_deviation": Column(
        "standard deviation of the test CER over the seeds", "fraction", ARMS
    ),
    "test_cer_lowest": Column("lowest test CER of the seeds", "fraction", ARMS),
    "test_cer_highest": Column("highest test CER of the seeds", "fraction", ARMS),
    "difference": Column(
        "mean test CER less that of the best arm on dev, on common utterances", "fraction", ARMS
    ),
    "difference_low": Column(
        "lower end of the difference's simultaneous 95 % interval (seeds, utterances, speakers)",
        "fraction",
        ARMS,
    ),
    "difference_high": Column("upper end of the same interval", "fraction", ARMS),
    "relative": Column("difference over the best arm's mean test CER", "fraction", ARMS),
    "relative_low": Column(
        "lower end of its simultaneous 95 % interval; empty beside an arm that prints blanks only",
        "fraction",
        ARMS,
    ),
    "relative_high": Column("upper end of the same interval", "fraction", ARMS),
    "wer_difference": Column("as difference, of the mean test WER", "fraction", ARMS),
    "wer_difference_low": Column("as difference_low, of the test WER", "fraction", ARMS),
    "wer_difference_high": Column("as difference_high, of the test WER", "fraction", ARMS),
    "wer_p_adjusted": Column("as p_adjusted, of the test WER", "", ARMS),
    "p_adjusted": Column("p-value of the difference, adjusted for all pairs of arms", "", ARMS),
    "shown": Column("whether the interval of the difference leaves out 0", "", ARMS),
    "escaped": Column("seeds that left the blank plateau", "runs", ROWS),
    "escape_updates_median": Column(
        "median of the updates until escape; empty: the median run has not escaped",
        "updates",
        ROWS,
    ),
    "escape_updates_lowest": Column("fewest updates until escape", "updates", ROWS),
    "escape_updates_highest": Column("most updates until escape", "updates", ROWS),
}
REFUSAL_COLUMNS = {
    "utterance": Column("id of an utterance of the corpus that was refused", "", "the manifest"),
    "reason": Column("why", "", "the manifest, the shards"),
}
ERROR_COLUMNS = {
    "arm": Column("name of the arm; its runs differ in their seed only", "", RECORD),
    "unit": Column("character, phoneme or word", "", HYPOTHESES),
    "kind": Column("substitution, deletion or insertion", "", HYPOTHESES),
    "reference": Column("what was said: the transcript, or a part of it", "", HYPOTHESES),
    "hypothesis": Column(
        "what the network read; of an utterance: the best run on dev of the arm", "", HYPOTHESES
    ),
    "count": Column("how often, over all runs of the arm", "", HYPOTHESES),
    "reference_count": Column(
        "how often the reference has it, over all runs of the arm", "", HYPOTHESES
    ),
    "characters": Column("range of the reference's length", "characters", HYPOTHESES),
    "speaker": Column("id of the speaker", "", HYPOTHESES),
    "stands_apart": Column(
        "whether the best arm's CER of this speaker is far from that of the others", "", HYPOTHESES
    ),
    "utterance_id": Column("id of the utterance in the manifest", "", HYPOTHESES),
    "training_count": Column("how often a word is in the training text", "", "the feature set"),
    "error_rate": Column("reference words that are wrong over words", "fraction", HYPOTHESES),
    **{
        f"{unit}_{kind}": Column(f"{name}s: {kind} of the test split", f"{name}s", HYPOTHESES)
        for unit, name in (("char", "character"), ("word", "word"))
        for kind in ("substitutions", "deletions", "insertions")
    },
}
EFFECT_COLUMNS = {
    "effect_of": Column("setting, or interaction: of two settings", "", ARMS),
    "settings": Column("dotted key of the setting, or of both", "", RECORD),
    "values": Column("value of the setting, or of both", "", RECORD),
    "first_values": Column("value that it is compared with: the sweep's first one", "", RECORD),
    "arm_count": Column("arms that have this value", "arms", ARMS),
    "mean_cer": Column("mean test CER at this value, the other settings alike", "fraction", ARMS),
    "mean_cer_low": Column("lower end of its 95 % interval", "fraction", ARMS),
    "mean_cer_high": Column("upper end of the same interval", "fraction", ARMS),
    "effect": Column(
        "mean_cer less that of the first value; of an interaction: how much more the first setting "
        "changes it at this value of the second one",
        "fraction",
        ARMS,
    ),
    "effect_low": Column("lower end of its adjusted 95 % interval", "fraction", ARMS),
    "effect_high": Column("upper end of the same interval", "fraction", ARMS),
    "effect_p": Column("p-value of the effect, adjusted for all lines of the table", "", ARMS),
    "source": Column("what moves the test CER of a run: setting, seed, speakers", "", ARMS),
    "source_deviation": Column("standard deviation that it causes", "fraction", ARMS),
    "source_share": Column("share of the sum of all variances", "fraction", ARMS),
    "at_risk": Column("runs on the blank plateau until just before", "runs", ROWS),
    "escaping": Column("runs that escape at this number of updates", "runs", ROWS),
    "censored": Column("runs whose last evaluation this is, without an escape", "runs", ROWS),
    "landmark": Column("what the dev row of this line is the first to pass", "", ROWS),
    "share_on_plateau": Column("Kaplan-Meier estimate of the share still on it", "fraction", ROWS),
}
DECODED, ALIGNED = "decodings/", "alignments/transcripts/utterances.csv"
TRAINED_COLUMNS = {
    "decoding": Column("what the decoding knows; as trained: nothing, usually", "", DECODED),
    "decoding_id": Column("folder in the run's decodings/", "", DECODED),
    **{
        f"{rate}_change{end}": Column(
            f"mean test {rate.upper()} less that as trained, network by network"
            if not end
            else f"{bound} end of its 95 % interval, seeds and speakers, for all lines at once",
            "fraction",
            DECODED,
        )
        for rate in ("wer", "cer")
        for end, bound in (("", ""), ("_low", "lower"), ("_high", "upper"))
    },
    "ngram_weight": Column("weight of the n-gram beside the sound, chosen on dev", "", DECODED),
    "word_reward": Column("reward of each word, chosen on dev", "nats", DECODED),
    "unknown_penalty": Column("penalty of an unknown word; 50: none is possible", "nats", DECODED),
    "trials": Column("weights that were tried on dev", "trials", DECODED),
    "unknown_words": Column("test words that the lexicon lacks", "fraction", DECODED),
    "seconds_per_utterance": Column("time of the search on test", "s", DECODED),
    "alignment_score": Column("how badly the text fits its sound", "nats per letter", ALIGNED),
    "alignment_limit": Column(
        "score above which a transcript is suspicious", "nats per letter", ALIGNED
    ),
}
COLUMNS: Mapping[str, Column] = {
    **IDENTITY_COLUMNS,
    **ROW_COLUMNS,
    **RESULT_COLUMNS,
    **ARM_COLUMNS,
    **REFUSAL_COLUMNS,
    **ERROR_COLUMNS,
    **EFFECT_COLUMNS,
    **TRAINED_COLUMNS,
}
