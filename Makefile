# What a developer runs. `make help` lists it; every target installs what it needs.

CARGO ?= cargo
# How long each fuzz target runs.
FUZZ_SECONDS ?= 60
# How many simulations `make simulate` runs.
SEEDS ?= 10000
# Where `make bench` makes everything, in memory; how much of the full size; how often; from which
# numbers; which works (`make bench WORK=list` names them); where the results are published.
BENCH_DIR ?= /dev/shm
BENCH_SCALE ?= 1
BENCH_RUNS ?= 3
BENCH_SEED ?= 20260101
WORK ?=
PUBLISH ?=
# How many blobs and files the largest of what `make scale` makes has.
SCALE_BLOBS ?= 10000000
SCALE_FILES ?= 1000000
# What happens in `make demo`: complete-system-failure, or another scenario of the plan.
SCENARIO ?= complete-system-failure
# What only root can test counts as skipped for anybody else, and never as passed.
LEFT_OUT = $(if $(filter 0,$(shell id -u)),,-E 'not test(as_root_)')
# Where `make docs` writes.
DOCS ?= target/docs

LIFEBOAT := $(CARGO) run --locked --quiet --package lifeboat --
BENCH := $(CARGO) run --release --locked --quiet --package lifeboat-bench --bin lifeboat-bench --

export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.DEFAULT_GOAL := help
.PHONY: help test lint demo bench bench-postgres bench-s3 bench-schedule bench-status bench-idle bench-restore-test scale docs ledger kills year simulate durability mutants flips fuzz deny

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

test: lint ## install what the tests need, check format and lints, run every test
	dev/install-needs postgresql postgresql-18 pgbackrest moto azurite sshd platform promtool restic git systemd fuse cargo-nextest
	$(CARGO) nextest run --profile ci --workspace --locked $(LEFT_OUT)
	$(CARGO) test --doc --workspace --locked --quiet

lint: ## check the format, the links in the documentation, and every lint as an error
	dev/install-needs build rust
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked --quiet

demo: ## the film of the plan: a platform is backed up, struck as SCENARIO says, brought back, and proven to be the same
	dev/install-needs build postgresql moto azurite platform
	$(CARGO) build --release --locked --package lifeboat --package techit
	$(CARGO) run --release --locked --quiet --package techit -- demo $(SCENARIO)

bench: ## measure beside restic, cp and the hardware's ceiling; some ten minutes, 14 GB of memory
ifeq ($(WORK),list)
	@$(BENCH) works
else
	dev/install-needs build postgresql restic
	$(CARGO) build --release --locked --package lifeboat --package lifeboat-bench
	$(BENCH) race --below $(BENCH_DIR) --scale $(BENCH_SCALE) --runs $(BENCH_RUNS) --seed $(BENCH_SEED) \
	  $(if $(WORK),--work $(WORK)) $(if $(PUBLISH),--publish $(PUBLISH))
endif

bench-postgres: ## measure beside pgBackRest on a server of pgbench's; some ten minutes, 13 GB of memory
	dev/install-needs build postgresql pgbackrest
	$(CARGO) build --release --locked --package lifeboat --package lifeboat-bench
	$(BENCH) postgres --below $(BENCH_DIR) --scale $(BENCH_SCALE) --runs $(BENCH_RUNS) --seed $(BENCH_SEED) \
	  $(if $(WORK),--work $(WORK)) $(if $(PUBLISH),--publish $(PUBLISH))

bench-s3: ## measure beside restic on a store of S3, near and 50 ms away, and through SFTP; some four minutes, 8 GB of memory
	dev/install-needs build restic s3-server sshd
	$(CARGO) build --release --locked --package lifeboat --package lifeboat-bench
	$(BENCH) s3 --below $(BENCH_DIR) --scale $(BENCH_SCALE) --runs $(BENCH_RUNS) --seed $(BENCH_SEED) \
	  $(if $(WORK),--work $(WORK)) $(if $(PUBLISH),--publish $(PUBLISH))

bench-schedule: ## measure how long the next runs of 10,000 schedules take; a minute to build
	$(CARGO) run --release --locked --quiet --package lifeboat-ops --example next_runs

bench-status: ## measure a status of a catalog of a million records; some minutes, a gigabyte of disk
	dev/install-needs build
	$(CARGO) test --release --locked --package lifeboat-ops --lib -- --ignored --nocapture a_status_of_a_million_records

bench-idle: ## measure the memory and processor time of a daemon that has nothing to do; two minutes
	dev/install-needs build
	$(CARGO) build --release --locked --package lifeboat --package lifeboat-bench
	$(BENCH) idle --below $(BENCH_DIR)

bench-restore-test: ## measure what a restore test takes beside the restore; three minutes, 14 GB of memory
	dev/install-needs build
	$(CARGO) build --release --locked --package lifeboat --package lifeboat-bench
	$(BENCH) restore-test --below $(BENCH_DIR) --scale $(BENCH_SCALE) --runs $(BENCH_RUNS) --seed $(BENCH_SEED)

scale: ## measure how time and memory grow with blobs and files; some ten minutes, 14 GB of memory
	dev/install-needs build
	$(CARGO) build --release --locked --package lifeboat --package lifeboat-bench
	$(BENCH) scale --below $(BENCH_DIR) --blobs $(SCALE_BLOBS) --files $(SCALE_FILES) \
	  $(if $(PUBLISH),--publish $(PUBLISH))

docs: ## write man pages, completions and the plan's JSON Schema into target/docs
	dev/install-needs build
	mkdir -p $(DOCS)/man $(DOCS)/completions
	$(CARGO) build --locked --package lifeboat
	$(LIFEBOAT) man $(DOCS)/man
	$(LIFEBOAT) completions bash > $(DOCS)/completions/lifeboat.bash
	$(LIFEBOAT) completions zsh > $(DOCS)/completions/_lifeboat
	$(LIFEBOAT) completions fish > $(DOCS)/completions/lifeboat.fish
	$(LIFEBOAT) plan schema > $(DOCS)/plan.schema.json

ledger: ## recover real servers to ten random times after each kind of trouble, SEEDS times, or as SEED has it
	dev/install-needs build postgresql postgresql-18 cargo-nextest
	LIFEBOAT_LEDGER_SEEDS=$(if $(filter file,$(origin SEEDS)),1,$(SEEDS)) $(if $(SEED),LIFEBOAT_LEDGER_SEED=$(SEED)) \
	  $(CARGO) nextest run --profile long --locked --package lifeboat --run-ignored only --success-output immediate ledger::

year: ## run the reference plan for a simulated year, with faults and kills, or the one of SEED; some minutes
	dev/install-needs build cargo-nextest
	LIFEBOAT_DAYS=365 $(if $(SEED),LIFEBOAT_SEED=$(SEED)) \
	  $(CARGO) nextest run --profile long --locked --package lifeboat-ops --lib --success-output immediate the_plan_runs_by_itself

kills: ## kill the daemon at any moment a hundred times, alone and beside a live database; some five minutes
	dev/install-needs build postgresql restic cargo-nextest
	LIFEBOAT_KILLS=100 $(CARGO) nextest run --profile long --locked --package lifeboat --test cli daemon_that_is_killed

simulate: ## simulate SEEDS repositories in use with faults, or replay the one of SEED
	dev/install-needs build
	$(CARGO) run --release --locked --quiet --package lifeboat-proof -- \
	  simulate $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

mutants: ## break the repository on purpose and expect the simulation to notice
	dev/install-needs build
	dev/try-mutants

durability: ## cut the power of SEEDS real file systems at random system calls
	dev/install-needs build fuse
	$(CARGO) run --release --locked --quiet --package lifeboat-proof -- durability --seeds $(SEEDS)

flips: ## flip every bit of a small repository in turn and use what is left
	dev/install-needs build
	$(CARGO) run --release --locked --quiet --package lifeboat-proof -- flips

fuzz: ## feed every parser with garbage, FUZZ_SECONDS each; dev/keep-corpus target/fuzz keeps what it found
	dev/install-needs build cargo-fuzz
	@set -e; for target in $$(RUSTC_BOOTSTRAP=1 $(CARGO) fuzz list); do \
	  echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
	  mkdir -p target/fuzz/$$target; \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run "$$target" target/fuzz/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048; \
	done

deny: ## check licences, sources and known weaknesses of all dependencies
	dev/install-needs build cargo-deny
	$(CARGO) deny --locked check
