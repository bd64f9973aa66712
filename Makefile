# Every target is a thin line over one program: `blankslate VERB …` (python -m jobs VERB …).
# `make` alone prints this list.

# Not `?=`: clusters export names such as WORK, which must not override a profile by accident.
CORPUS :=
FOLDER :=
SWEEP := configs/sweeps/spectrum.yaml
EXPERIMENT := configs/experiments/baseline.yaml
CLUSTER := $(BLANKSLATE_CLUSTER)
WORK := $(BLANKSLATE_WORK)
SET :=
SEEDS :=
DRY :=
FIRST :=
WATCH :=
RUN :=
FEATURES :=
UTTERANCE :=
OUT :=
EXCEL :=
IMAGES :=
ONLY :=
BENCH :=
LANGUAGE :=
AUDIO :=
FORMAT :=
LICENCE :=
TORCH :=
JOB :=
FOLLOW :=
REMOVED :=
SPLIT :=
HYPOTHESES :=
TEXT :=

# Environment modules set these: the locked packages alone count.
unexport PYTHONPATH PYTHONHOME

ifeq ($(OS),Windows_NT)
bin := .venv/Scripts
PYTHON ?= python
else
bin := .venv/bin
PYTHON ?= python3
endif
blankslate := $(if $(CLUSTER),,BLANKSLATE_DEFAULT_CLUSTER=1 )$(bin)/python -m jobs
cluster := --cluster "$(or $(CLUSTER),cluster/local.yaml)"
work := $(if $(WORK),--work "$(WORK)")
set := $(foreach change,$(SET),--set $(change))
seeds := $(if $(SEEDS),--seeds "$(SEEDS)")
dry := $(if $(filter-out 0,$(DRY)),--dry-run)
excel := $(if $(filter-out 0,$(EXCEL)),--excel $(or $(filter comma semicolon,$(EXCEL)),comma))
changeable := features train doctor lr-range sweep status cancel report decode
unchanged := $(if $(SET),$(filter-out setup $(changeable),$(or $(MAKECMDGOALS),help)))
ifneq ($(unchanged),)
$(error SET changes nothing of $(unchanged): leave it out; it is for $(changeable))
endif
seedable := features sweep status
unseeded := $(if $(SEEDS),$(filter-out setup $(seedable),$(or $(MAKECMDGOALS),help)))
ifneq ($(unseeded),)
$(error SEEDS changes nothing of $(unseeded): leave it out; it is for $(seedable))
endif
stamp := .venv/.complete
kernel := .venv/.kernel
peers := .venv-bench
bench = $(if $(wildcard $(peers)/.complete),$(peers)/$(notdir $(bin)),$(bin))/python
pip := $(bin)/python -m pip --disable-pip-version-check --quiet
# The build of torch: TORCH, else the one that .venv has, else that of the lock.
build := .venv/torch-build.txt
built := $(shell cat $(build) 2>/dev/null)
torch := $(or $(TORCH),$(built),lock)
rebuild := $(if $(filter-out $(built),$(TORCH)),rebuild)
locked_torch = $(shell sed -n 's/^\(torch[a-z]*==[^ ;]*\).*/\1/p' requirements.lock)

.PHONY: rebuild help setup demo test lint check format lock corpus-new corpus-check features verify inspect train lr-range doctor sweep status logs decode align export outputs transcribe cancel report bench race bench-setup cluster-check slurm-up slurm-down clean

##@ Start

help:  ## print this list
	@LC_ALL=C sed -n -e 's/^##@ \(.*\)/\n\1:/p' -e 's/^\([a-z-]*\):.*  ## /  \1|/p' Makefile | while IFS='|' read -r name text; do case "$$text" in '') echo "$$name" ;; *) printf '  %-14s %s\n' "$$name" "$$text" ;; esac; done

setup: $(stamp) $(kernel)  ## create .venv with the exact locked versions, once; TORCH=auto, cpu, cu126, system, …: another build of torch

# The lock without torch and its CUDA libraries, then torch of the same version from PyTorch's own index.
define other_torch
sed -E '/^(torch|torchaudio|triton|nvidia-[a-z0-9-]*|cuda-[a-z]*)==/,/[^\\]$$/d' requirements.lock > .venv/without-torch.txt
	$(bin)/uv pip install --quiet --python .venv --no-deps --require-hashes --requirement .venv/without-torch.txt
	$(if $(filter system,$(torch)),@$(bin)/python -c 'import torch',$(bin)/uv pip install --quiet --python .venv --torch-backend "$(torch)" $(locked_torch))
endef

# The last line compiles the modules that commands import, an eighth of all, before many jobs start at once.
$(stamp): requirements.lock pyproject.toml $(rebuild)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("blankslate needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; name another: make setup PYTHON=python3.12")'
	@[ ! -L .venv ] || { echo "blankslate: .venv is a link, and make setup would empty the folder that it points to; remove the link: rm .venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(if $(filter system,$(torch)),--system-site-packages) .venv || { echo "venv is missing: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	@$(pip) install --require-hashes --requirement .venv/uv.txt
	@$(if $(filter-out lock,$(torch)),$(other_torch),$(bin)/uv pip install --quiet --python .venv --require-hashes --requirement requirements.lock)
	@echo "$(torch)" > $(build)
	@$(bin)/uv pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
	@PYTHONDONTWRITEBYTECODE= $(bin)/python -c 'import jobs.display.live, pipeline.results.report, pipeline.training.loop.fit, submitit' 2>/dev/null || true
	@touch $@

$(kernel): $(stamp) $(wildcard pipeline/features/native/*.[ch])
	@$(bin)/python -m pipeline.features.native.kernels
	@touch $@

demo: setup  ## no data needed: make a corpus, compute features, run a small sweep, write its report; LANGUAGE=tr, de, hi, zh, or another one
	@$(blankslate) demo $(cluster) $(work) $(if $(LANGUAGE),--language "$(LANGUAGE)")

clean:  ## remove .venv and caches; the work folder stays
	@rm -rf .venv .venv-bench build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

##@ Your recordings

corpus-new: setup  ## FOLDER=…: look at a folder of recordings and write a corpus file for it
	@$(blankslate) corpus-new "$(FOLDER)" $(cluster) $(work)

corpus-check: setup  ## CORPUS=…: decode a corpus; print and draw what it holds; OUT=….png
	@$(blankslate) corpus-check "$(CORPUS)" $(cluster) $(work) $(if $(OUT),--output "$(OUT)")

##@ Features

features: setup  ## CORPUS=… or SWEEP=…, CLUSTER=…: compute every feature set that is missing
	@$(blankslate) features $(if $(CORPUS),--corpus "$(CORPUS)",--sweep "$(SWEEP)") $(cluster) $(work) $(dry) $(set) $(seeds)

verify: setup  ## CORPUS=…, SWEEP=… or FEATURES=…: compare every byte of feature sets with its checksum
	@$(blankslate) verify $(or $(FEATURES),"$(or $(CORPUS),$(SWEEP))") $(cluster) $(work)

inspect: setup  ## FEATURES=… (a shard or a feature set), UTTERANCE=…, OUT=….png: print and draw what it holds
	@$(blankslate) inspect "$(or $(FEATURES),$(CORPUS),$(SWEEP))" $(cluster) $(work) $(if $(UTTERANCE),--utterance "$(UTTERANCE)") $(if $(OUT),--output "$(OUT)")

##@ One run

doctor: setup  ## EXPERIMENT=…: check an experiment for mistakes before it is trained
	@$(blankslate) doctor "$(EXPERIMENT)" $(cluster) $(work) $(set)

lr-range: setup  ## EXPERIMENT=…: train briefly at several learning rates; suggest one
	@$(blankslate) lr-range "$(EXPERIMENT)" $(cluster) $(work) $(set)

train: setup  ## EXPERIMENT=…: train one run here, with live progress
	@$(blankslate) train "$(EXPERIMENT)" $(cluster) $(work) $(set)

##@ A sweep

sweep: setup  ## SWEEP=… CLUSTER=…: run what is missing, features first; SEEDS=5: at least five seeds; DRY=1 prints the plan; FIRST=1 runs one, to learn the cost
	@$(blankslate) sweep "$(SWEEP)" $(cluster) $(work) $(dry) $(if $(filter-out 0,$(FIRST)),--first) $(set) $(seeds)

status: setup  ## SWEEP=…: show a live table of its runs; WATCH=0 prints it once
	@$(blankslate) status "$(SWEEP)" $(cluster) $(work) $(set) $(seeds) $(if $(filter 0,$(WATCH)),--once)

logs: setup  ## RUN=…, or SWEEP=…: print the log of a run, or of the run that failed last; JOB=features or report; FOLLOW=1
	@$(blankslate) logs $(if $(RUN),"$(RUN)",--sweep "$(SWEEP)") $(cluster) $(work) $(if $(JOB),--job "$(JOB)") $(if $(filter-out 0,$(FOLLOW)),--follow)

decode: setup  ## RUN=… or SWEEP=…: decode finished runs again, with a lexicon and an n-gram model; SET="ngram=3"
	@$(blankslate) decode $(if $(findstring command,$(origin SWEEP)),$(if $(RUN),"$(RUN)") --sweep "$(SWEEP)","$(RUN)") $(cluster) $(work) $(set)

align: setup  ## RUN=…: align the transcripts with the sound; SPLIT=test FORMAT=textgrid; UTTERANCE=… draws one; AUDIO=… TEXT=…
	@$(blankslate) align "$(RUN)" $(cluster) $(work) $(foreach split,$(SPLIT),--split "$(split)") $(if $(filter-out 0,$(HYPOTHESES)),--hypotheses) $(if $(FORMAT),--format "$(FORMAT)") $(if $(UTTERANCE),--utterance "$(UTTERANCE)") $(if $(AUDIO),--audio "$(AUDIO)" --text "$(TEXT)") $(if $(OUT),--output "$(OUT)")

export: setup  ## RUN=…: write a finished run as one file with its model card; FORMAT=onnx OUT=FILE LICENCE=…
	@$(blankslate) export "$(RUN)" $(cluster) $(work) $(if $(FORMAT),--format "$(FORMAT)") $(if $(OUT),--output "$(OUT)") $(if $(LICENCE),--licence "$(LICENCE)")

outputs: setup  ## RUN=… CORPUS=… SPLIT=test: write log-probabilities and hidden states as HDF5; OUT=FILE
	@$(blankslate) outputs "$(RUN)" $(cluster) $(work) $(if $(CORPUS),--corpus "$(CORPUS)") $(foreach each,$(SPLIT),--split "$(each)") $(if $(OUT),--output "$(OUT)")

transcribe: setup  ## RUN=… AUDIO=… (a file or a folder): turn recordings into text; FORMAT=srt; OUT=FOLDER
	@$(blankslate) transcribe "$(RUN)" "$(AUDIO)" $(cluster) $(work) $(if $(FORMAT),--format "$(FORMAT)") $(if $(OUT),--output "$(OUT)")

cancel: setup  ## SWEEP=…: cancel its queued and running jobs; their work is saved; REMOVED=1: only of runs that left the file
	@$(blankslate) cancel "$(SWEEP)" $(cluster) $(work) $(set) $(if $(filter-out 0,$(REMOVED)),--removed)

report: setup  ## SWEEP=… (several: one report), EXPERIMENT=… or RUN=…: write tables, page and figures; EXCEL=1, IMAGES=1: also for Excel, PNG, PDF
	@$(blankslate) report $(if $(RUN),--run "$(RUN)",$(if $(findstring command,$(origin EXPERIMENT)),--experiment "$(EXPERIMENT)","$(SWEEP)")) $(cluster) $(work) $(set) $(excel) $(if $(filter-out 0,$(IMAGES)),--images)

##@ A cluster

cluster-check: setup  ## CLUSTER=…: test a profile with tiny jobs before a sweep uses it
	@$(blankslate) cluster-check "$(or $(CLUSTER),cluster/local.yaml)" $(work)

slurm-up:  ## start a real SLURM on this machine, for tests and trials (Debian, as root)
	@cluster/dev/slurm-up

slurm-down:  ## stop it
	@cluster/dev/slurm-down

##@ Development

test: setup  ## run every test that this machine can run
	@$(bin)/python -m pytest --numprocesses=5 --no-loadscope-reorder

lint: setup  ## run formatter, linter and type checker
	@$(bin)/ruff format --check .
	@$(bin)/ruff check .
	@$(bin)/mypy

check: lint  ## run lint, and the tests of architecture and documents
	@$(bin)/python -m pytest --quiet tests/test_architecture.py tests/test_docs.py

format: setup  ## format the code; write the schemas, the settings page and the map anew
	@$(bin)/ruff format .
	@$(bin)/ruff check --fix .
	@$(bin)/python -m tests.schemas
	@$(bin)/python -m tests.settings_page
	@$(bin)/python -m tests.module_map
	@$(bin)/python -m tests.answers

lock: setup  ## choose the newest versions that pyproject.toml allows, for every system
	@$(bin)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --group dev --upgrade pyproject.toml --output-file requirements.lock

bench: setup  ## measure speed against this machine's limits and other tools; ONLY="features reading"
	@$(bench) -m pipeline.features.native.kernels
	@$(bench) -m tests.benchmarks $(ONLY) $(if $(filter all,$(BENCH)),--all)

race: setup  ## seconds from AN4's wav files to 10 % test WER, five seeds
	@$(bench) -m tests.benchmarks race

bench-setup: $(peers)/.complete  ## create .venv-bench: the same versions, and the tools that make bench compares with

$(peers)/.complete: $(stamp)
	@$(bin)/uv venv --quiet --clear --python $(bin)/python $(peers)
	@$(bin)/uv pip install --quiet --compile-bytecode --python $(peers) --require-hashes --requirement requirements.lock
	@$(bin)/uv pip install --quiet --compile-bytecode --python $(peers) --constraint requirements.lock --group bench
	@$(bin)/uv pip install --quiet --python $(peers) --no-deps --no-build-isolation --editable .
	@$(peers)/$(notdir $(bin))/python -m pipeline.features.native.kernels
	@touch $@
