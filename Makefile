# Each target works from a clean checkout: it makes .venv, installs what it needs and builds nset.
# Only `demo` does without a C compiler; NSET_IMPLEMENTATION=python makes `test` do so too.

PYTHON ?= python3
FREE_THREADED_PYTHON ?= $(shell command -v python3.14t || command -v python3.13t || \
	ls $(HOME)/.cache/python-free-threaded/bin/python3.13t 2>/dev/null)

VENV := .venv
BIN := $(VENV)/bin
FREE_THREADED := $(VENV)-free-threaded
FREE_THREADED_BUILT := $(FREE_THREADED)/built-$(notdir $(FREE_THREADED_PYTHON))
# Most of a test's time is waiting: more of them at once than a small machine has cores.
TOGETHER := --numprocesses $(or $(TEST_PROCESSES),6) --dist worksteal
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

# The suite and the tools need the C extensions; with auto they could be missing unnoticed.
IMPLEMENTATION := $(patsubst auto,compiled,$(or $(NSET_IMPLEMENTATION),compiled))
BUILT := $(VENV)/built-$(IMPLEMENTATION)
TOOLS := $(VENV)/tools
SANITIZED := build/sanitized
CORES := $(addprefix src/nset/,_core.pyx _core.pxd _dict.pxd dataset/_core.pyx dataset/_cursor.pxd dataset/_vr.pxd scp/_core.pyx \
	scp/_core.pxd scp/_protocol.pyx)
EXTENSIONS := src/nset/_core.*.so src/nset/dataset/_core.*.so src/nset/scp/_core.*.so \
	src/nset/scp/_protocol.*.so

.PHONY: help demo test test-all test-peers test-kill free-threaded test-free-threaded test-newer-pythons try-release bench \
	bench-servers bench-scp bench-report bench-services bench-processes bench-mpps bench-all instructions soak \
	lint types docs annotate sanitize fuzz clean

help: ## show this list (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-20s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/built-$(or $(NSET_IMPLEMENTATION),auto) ## a modality reports a procedure step to a live server
	$(BIN)/python -m nset demo

# Empty: the modules that one process has compiled are there for the others, of which tests start many.
test test-all test-free-threaded: export PYTHONDONTWRITEBYTECODE :=

test: $(BUILT) ## the tests of nset itself, on both implementations or on one: NSET_IMPLEMENTATION=python make test
	@echo "Some 10,000 tests: about 3 minutes on 2 cores"
	$(BIN)/python -m pytest $(TOGETHER) -m 'not upstream and not soak and not peers and not exhaustive' \
		--ignore=tests/docs --ignore=tests/fuzz

test-all: $(BUILT) ## the same, the pages, more random inputs, pynetdicom's own tests on nset, then half a minute of load
	$(BIN)/python -m pytest $(TOGETHER) -m 'not soak and not peers'
	$(BIN)/python -m pytest -m soak

test-peers: $(TOOLS) ## with DCMTK, dcmjs-dimse, PostgreSQL and HAProxy, which it installs: needs root and npm
	.ci/install-peers
	$(BIN)/python -m pytest -m peers

test-kill: $(TOOLS) ## nset mpps killed 50 times under load, on SQLite and PostgreSQL; KILL_ROUNDS=5 for less
	.ci/install-peers
	KILL_ROUNDS=$(or $(KILL_ROUNDS),50) $(BIN)/python -m pytest -m peers tests/mpps/test_kill.py

bench: $(TOOLS) ## compare pynetdicom, the pure-Python fallback and the C extension
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-group-by=group \
		--benchmark-sort=mean --benchmark-columns=min,median,ops,rounds

bench-servers: $(TOOLS) ## a pynetdicom server without nset and with it, in alternating rounds
	$(BIN)/python benchmarks/servers.py

bench-scp: $(TOOLS) ## nset.scp beside canned bytes on uvloop and DCMTK in C++ (Debian: libdcmtk-dev, libsqlite3-dev)
	$(BIN)/python benchmarks/scp.py

bench-report: $(TOOLS) ## whole reports: pynetdicom, install(), nset.scp, DCMTK, canned bytes; GROWTH=1: as they grow
	$(BIN)/python benchmarks/report.py $(if $(GROWTH),--growth)

bench-services: $(TOOLS) ## each service of nset.scp on open associations, beside N-SET and pynetdicom
	$(BIN)/python benchmarks/services.py

bench-mpps: $(TOOLS) ## nset mpps beside one commit for each report, and DCMTK with SQLite
	$(BIN)/python benchmarks/mpps.py

bench-processes: $(TOOLS) ## whole reports to several processes of nset.scp, beside one
	$(BIN)/python benchmarks/processes.py

bench-all: $(TOOLS) ## all of them, results.json, and the tables and charts of it; SKIP=growth,mpps ROUNDS=3 SECONDS=0.5 for less
	$(BIN)/python benchmarks/all.py $(if $(SKIP),--skip $(SKIP)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(SECONDS),--seconds $(SECONDS))

test-newer-pythons: $(TOOLS) ## on Debian testing's 3.14 and 3.15, in a folder: needs root; TESTS="unit codec" for some
	rm -rf build/sdist
	$(BIN)/python -m build --sdist --outdir build/sdist
	.ci/newer-pythons build/sdist/*.tar.gz $(TESTS)

try-release: $(TOOLS) ## sdist and wheels to an index on this machine, and a fresh environment from there
	rm -rf build/release
	mkdir -p build/release
	PATH=$(CURDIR)/$(BIN):$$PATH .ci/same-bytes build/release
	$(BIN)/python .ci/try_release.py build/release/*

instructions: $(TOOLS) ## of hot operations, counted by callgrind (Debian: valgrind) and compared with those before
	$(BIN)/python benchmarks/instructions.py

soak: $(TOOLS) ## ten minutes of good associations beside bad ones; SECONDS=60 for less
	$(BIN)/python benchmarks/soak.py --seconds $(or $(SECONDS),600)

lint: $(TOOLS) ## ruff, cython-lint, zizmor and, where they are to be had, actionlint and hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH=$(BIN):$$PATH cython-lint src
	$(BIN)/zizmor --offline --quiet --pedantic .
	@if [ -x $(BIN)/actionlint ]; then PATH=$(BIN):$$PATH actionlint; fi
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint deploy/docker/Dockerfile; fi

types: $(TOOLS) ## mypy --strict and pyright, and stubtest on both implementations
	$(BIN)/python -m mypy --strict
	$(BIN)/pyright --pythonpath $(BIN)/python
	NSET_IMPLEMENTATION=compiled $(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml nset
	NSET_IMPLEMENTATION=python $(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml nset

docs: $(TOOLS) ## the site, in build/docs; a warning is an error
	$(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going docs build/docs

annotate: $(TOOLS) ## how Cython compiles each line: build/annotate/nset/_core.html and so on
	@for core in $(filter %.pyx,$(CORES)); do \
		output=build/annotate/$${core#src/}; mkdir -p $${output%/*}; \
		$(BIN)/cython --annotate -o $${output%.pyx}.c $$core || exit 1; done

$(FREE_THREADED_BUILT): pyproject.toml setup.py $(CORES)
	@test -n "$(FREE_THREADED_PYTHON)" || { echo "There is no python3.14t or python3.13t here; \
	name one: make test-free-threaded FREE_THREADED_PYTHON=/path/to/python3.14t"; exit 1; }
	@rm -f $(FREE_THREADED)/built-*
	$(FREE_THREADED_PYTHON) -m venv $(FREE_THREADED)
	NSET_IMPLEMENTATION=compiled $(FREE_THREADED)/bin/python $(PIP_INSTALL) --prefer-binary -e '.[test]'
	@touch $@

free-threaded: $(FREE_THREADED_BUILT)  # what the next one needs

test-free-threaded: $(FREE_THREADED_BUILT) ## the same on a free-threaded CPython, with the GIL off
	$(FREE_THREADED)/bin/python .ci/check_live.py
	PYTHON_GIL=0 $(FREE_THREADED)/bin/python -m pytest $(TOGETHER) -m 'not soak and not peers'

# Python's own allocator would hide what is read behind the end of an object; it also leaks on purpose.
UNDER_SANITIZERS = env LD_PRELOAD=$$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
	UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc PYTHONPATH=$(SANITIZED) \
	NSET_IMPLEMENTATION=compiled $(BIN)/python

$(SANITIZED): $(CORES) setup.py | $(TOOLS)
	CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined" NSET_IMPLEMENTATION=compiled \
	$(BIN)/python $(PIP_INSTALL) --no-deps --upgrade --target $@ .
	@touch $@

# None of the tests that measure time: all runs several times as slowly.
sanitize: $(SANITIZED) ## what decodes and encodes, under GCC's address and undefined-behaviour sanitizers
	$(UNDER_SANITIZERS) -c 'from nset.scp import _protocol as it; assert "$(SANITIZED)" in it.__file__'
	$(UNDER_SANITIZERS) -m pytest $(TOGETHER) -p no:cacheprovider tests/unit tests/dataset \
		$(addprefix tests/codec/test_,mutations.py pdu_faults.py pdu_reader.py wire.py) \
		$(addprefix tests/scp/test_,bad_negotiation.py bad_requests.py data_sets_of_requests.py ends.py \
		every_pdu.py fragments.py lengths.py long_data_sets.py ordinary_associations.py silent_connections.py timeouts.py)
	$(UNDER_SANITIZERS) tests/dataset/fuzz.py --number 5000

fuzz: $(SANITIZED) ## atheris on both implementations, then its inputs under the sanitizers; SECONDS=600 for more
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(or $(SECONDS),120)
	$(UNDER_SANITIZERS:compiled=auto) tests/fuzz/fuzz.py --replay

clean: ## remove everything that was built or installed
	rm -rf $(VENV) $(FREE_THREADED) build dist src/*.egg-info $(EXTENSIONS)
	rm -rf .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("nset needs Python 3.10 or newer, this is " + sys.version.split()[0] + "; name another: make PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# One stamp at a time says what is installed: a switch of implementation builds anew, and an
# extension that an earlier build left in the tree is never picked up.
$(VENV)/built-%: pyproject.toml setup.py $(CORES) | $(BIN)/python
	@rm -f $(VENV)/built-* $(FREE_THREADED)/built-* $(EXTENSIONS)
	@echo "Installing nset ($*) and what it needs in $(VENV)"
	@NSET_IMPLEMENTATION=$* $(BIN)/python $(PIP_INSTALL) -e '.[scp,test]' || { test $* != compiled || \
	printf '\nThe C extensions could not be built; the reason is above. Without a C compiler, run:\n\n    NSET_IMPLEMENTATION=python make test\n\n'; exit 1; }
	@touch $@ $(if $(filter compiled,$*),$(VENV)/built-auto)

# Without -e: nset is there already, so what its extra needs is installed, and nothing is built again.
# Most modules of the tools are never imported: they are compiled when they are.
$(TOOLS): pyproject.toml | $(BUILT)
	$(BIN)/python $(PIP_INSTALL) --no-compile 'nset[dev]'
	@touch $@
