# Everything starts here: `make demo`, `make test`, `make up`. `make setup` alone makes .venv with the `bucketline` command in it.

PYTHON ?= python3
PORT   ?= 8000
SITE_PORT ?= 8080
# How many test processes; the tests start servers, so more than the cores does not help.
JOBS   ?= auto

VENV   := .venv
BIN    := $(VENV)/bin
# Named after what .venv was made from: while that is unchanged, nothing is asked of the network.
STAMP  := $(VENV)/.made-from-$(shell cat constraints.txt pyproject.toml | cksum | tr ' ' -)
# pip's cache and index settings are the user's own; only the hashes decide what gets in. To compile all that may never be
# imported is a third of pip's time; Python compiles the rest when it is.
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup wheel docs test containers conformance-table check format demo up example-django bench bench-stores constraints clean

help:
	@echo 'make demo            set up, start everything, send two files, show what happened (KEEP=dir keeps it)'
	@echo 'make up PORT=8000    set up, and run Bucketline in the foreground until Ctrl-C'
	@echo 'make example-django  set up, and run a Django site with a page that uploads, beside a Bucketline'
	@echo 'make test            set up, and run the whole suite (ARGS="-k name" for a part of it)'
	@echo 'make containers      the image, Compose, systemd, a newcomer'"'"'s and a contributor'"'"'s commands, for real (root)'
	@echo 'make check           linter, strict types, layering, the Compose file'
	@echo 'make bench           side by side with what you would use instead'
	@echo 'make bench-stores    each storage backend beside the upload of its own library'
	@echo 'make setup           only .venv with the `bucketline` command in it'
	@echo 'make docs            the documentation as a site, in site/'
	@echo 'make wheel           the sdist and the wheel, in dist/'
	@echo 'make clean           remove .venv, var/ and caches'

setup: $(STAMP)

# gunicorn's parser in C comes as source only: for want of a C compiler, all else must not fail.
$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Bucketline needs Python 3.11 or newer; `make PYTHON=python3.12 setup` names another one.' >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo 'Python has no venv module here; on Debian: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Making $(VENV), once: this takes a minute or two.'
	$(PYTHON) -m venv --clear $(VENV)
	@awk '/^[^ ]/ { fast = /^gunicorn-h1c==/ } { print > ("$(VENV)/" (fast ? "fast" : "rest") ".txt") }' constraints.txt
	$(PIP) install --quiet --no-compile --require-hashes --no-deps -r $(VENV)/rest.txt
	@$(PIP) install --quiet --no-compile --require-hashes --no-deps -r $(VENV)/fast.txt 2>$(VENV)/fast.log || \
	  echo 'Without the HTTP parser in C: it has to be built here, and was not ($(VENV)/fast.log). All works without it;' \
	    'with a C compiler, `make clean setup` tries again.' >&2
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

docs: setup
	$(BIN)/python -P deploy/pages.py site

wheel: setup
	$(BIN)/python -m hatchling build -d dist

# Azurite, the emulator of Azure Storage, clients of tus, what the page of examples/django is made of, and axe-core,
# which judges the page at /, for their tests: once, and only where there is npm. Node brings certificates of its own; behind a proxy that re-signs, those of
# the machine are needed too, and npm would try again for an hour.
NPM    := NODE_EXTRA_CA_CERTS="$${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}" timeout 600 \
          npm install --fetch-retries 1 --no-package-lock --no-audit --no-fund --silent
NODES  := azurite@3.37.0 tus-js-client@4.3.1 @uppy/core@6.3.1 @uppy/dashboard@6.0.3 @uppy/tus@6.0.0 esbuild@0.28.2 \
          axe-core@4.14.1
NODE   := $(VENV)/node/.made-of-$(shell echo $(NODES) | cksum | tr ' ' -)
$(NODE): | setup
	@if command -v npm >/dev/null; then \
	  $(NPM) --prefix $(VENV)/node $(NODES) && touch $(NODE); \
	else echo 'npm is not here: the tests of Azure on Azurite, of tus-js-client and of Uppy are skipped' >&2; fi

# Tests start Python some thousand times: where it must not keep what it compiled, they take half as long again.
test containers: export PYTHONDONTWRITEBYTECODE :=

test: setup $(NODE)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

# The image and the Compose file on a real engine: on yours, or, as root, on one that is started for it; and a Debian of
# its own in which systemd runs. Of Debian's packages docker.io, docker-compose, iptables, mmdebstrap, systemd-container.
containers: setup
	BUCKETLINE_TEST_CONTAINERS=1 $(BIN)/python -m pytest -q $(ARGS) tests/containers

# Writes docs/backends/results.md: what the conformance suite says of every store that the tests start.
conformance-table: setup $(NODE)
	CONFORMANCE_TABLE=docs/backends/results.md $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile \
	  tests/backends/test_memory.py tests/backends/test_local.py tests/backends/test_s3.py tests/backends/test_gcs.py \
	  tests/backends/test_azure.py tests/backends/test_generic.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_layering.py
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: setup
	$(BIN)/python -P -m bucketline.demo $(if $(KEEP),--keep $(KEEP))

up: setup
	$(BIN)/bucketline up --port $(PORT)

# Needs npm, and the network the first time. Ctrl-C ends both.
example-django: setup
	cd examples/django && $(NPM) && npm run --silent build
	PATH="$(CURDIR)/$(BIN):$$PATH" PORT=$(SITE_PORT) API_PORT=$(PORT) examples/django/run

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

# Servers as the tests start them; one that is not installed is left out. `--page` writes docs/backends/speed.md anew.
bench-stores: setup $(NODE)
	$(BIN)/python -m benchmarks.stores $(ARGS)

# Needs the network and `uv`: resolves everything anew, writes versions and hashes, and makes .venv of them, from which
# it learns what the image needs.
constraints:
	@{ echo '# Every version that was tested, with its hashes. Written by `make constraints`; installed by `make setup`.'; \
	  uv pip compile pyproject.toml --extra dev --python-version 3.11 --universal --generate-hashes --upgrade --quiet \
	    --no-header --no-annotate --no-emit-index-url --no-emit-find-links; } > constraints.new
	@mv constraints.new constraints.txt
	$(MAKE) setup
	$(BIN)/python deploy/pins.py

clean:
	rm -rf $(VENV) var site .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
