# One command each; `.venv` is made when it is missing or when the lock changed. Needs python3.11 with venv, nothing else.
PYTHON ?= python3.11
BIN := .venv/bin
UV := $(BIN)/uv
TESTS ?= tests
# two workers where there are two cores; each file stays on one, so that a file's own servers and databases are shared; the order is
# that of tests/conftest.py, long files first: by number of tests, as is usual, files of few long ones would end the suite on one core
XDIST ?= -n 2 --dist loadfile --no-loadscope-reorder
DEMO ?=

.PHONY: run test soak check bench openapi release-openapi clean lock compiled ftm
.DELETE_ON_ERROR:

run: compiled                ## two cities exchanging, on 127.0.0.1:8000 and :8001
	@exec $(BIN)/chengxin demo $(DEMO)

# what pytest makes of the tests is kept, whatever the environment says of bytecode: the next run's workers need not make it again, ten
# seconds of a core each
test: compiled               ## the whole suite, on SQLite and on a real PostgreSQL
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(XDIST) -q $(TESTS)

soak: compiled               ## hours: ten times as many drawn examples, and the twins at every door of both databases
	SOAK=1 $(BIN)/python -m pytest $(XDIST) -q --timeout 7200 $(TESTS)

check: .venv/.ready          ## lint, types, docstrings
	$(BIN)/ruff check gateway adapters tests
	$(BIN)/mypy

bench: compiled              ## ratios to limits measured in the same run
	$(BIN)/python -m tests.bench

openapi: .venv/.ready        ## renew the golden document
	$(BIN)/chengxin openapi > openapi/gateway.json.new && mv openapi/gateway.json.new openapi/gateway.json

release-openapi: openapi     ## part of a release: from now on the API document may only grow (tests/web/test_compatible.py)
	@grep -q "^## $$($(BIN)/python -c 'import gateway; print(gateway.__version__)') (20" CHANGELOG.md || { echo "CHANGELOG.md: the version has no date yet, so it is no release"; exit 1; }
	cp openapi/gateway.json openapi/released.json

ftm:                         ## followthemoney in an environment of its own, for one test; needs Debian's libicu-dev
	python3 -m venv .ftm && .ftm/bin/pip install -q followthemoney

# a process that finds no bytecode compiles a thousand modules before it does anything, where it may not write them (containers, CI)
compiled: .venv/.ready
	@$(BIN)/python -m compileall -q gateway adapters tests

clean:                       ## everything that can be made again; the data of `make run` too
	rm -rf .run .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info bench-*.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# sync first, then the project itself: `--require-hashes` refuses an editable path, and a sync removes what the lock does not name
.venv/.ready: requirements-dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip -q --disable-pip-version-check install uv==0.13.9
	@$(UV) pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements-dev.txt
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch .venv/.ready

# no registry address may stand in a lock, hence --no-emit-index-url and requirements files instead of uv.lock
lock: .venv/.ready           ## compile both locks from pyproject.toml
	$(UV) pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url pyproject.toml -o requirements.txt
	$(UV) pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --extra gm --extra sftp --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt
