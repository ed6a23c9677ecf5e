PYTHON ?= python3
BIN := .venv/bin
export PYTHONPATH := .:protos/gen
# The tests start hundreds of programs: bytecode is kept, also where the environment says otherwise.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test e2e-s3 torture soak fuzz unit check format protos docs release-protos bench bench-grpc bench-memory setup requirements sbom release viewer clients dcm4che keycloak clean

# Start the archive: DICOMweb on :8080, gRPC on :50051, data in ./data.
run: .venv/runtime
	$(BIN)/dicomstore up

# The whole suite, PostgreSQL included. There are two more test processes than processors, because many tests wait for
# programs, disks and timeouts.
TEST_PROCESSES ?= $(shell $(PYTHON) -c 'import os; print(2 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()))')

# Temporary files are in memory if there is room for them: a start of a core then takes a quarter less processor time,
# and nothing waits for a disk.
TEST_TMPDIR ?= $(shell $(PYTHON) -c 'import os, shutil, tempfile; \
	memory = "/dev/shm"; has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 10 << 30; \
	print(memory if has_room else tempfile.gettempdir())')

test: .venv/dev
	TMPDIR=$(TEST_TMPDIR) $(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal --durations 20

# The end-to-end tests with blobs on an S3 server (of the package `moto`) and the index in PostgreSQL.
e2e-s3: .venv/dev
	TMPDIR=$(TEST_TMPDIR) $(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal --durations 20 --stores s3 tests/e2e

# Run an archive under random faults for some minutes on each database: see docs/reliability.md.
MINUTES ?= 5
DATABASE ?= both

torture: .venv/dev
	$(BIN)/python -m tests.torture --minutes $(MINUTES) --database $(DATABASE) $(if $(SEED),--seed $(SEED))

# The same with several seeds, for an hour by default.
soak: .venv/dev
	$(BIN)/python -m tests.torture --minutes $(if $(filter file,$(origin MINUTES)),10,$(MINUTES)) --database $(DATABASE) \
		--runs 3 $(if $(SEED),--seed $(SEED))

# Coverage-guided fuzzing of the parsers, on all processors; see CONTRIBUTING.md.
SECONDS ?= 60

fuzz: .venv/dev
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(TARGET),--target $(TARGET)) $(if $(SEED),--seed $(SEED))

# The fast tests: no network, no database server.
unit: .venv/dev
	$(BIN)/pytest -n auto tests/unit

# Linters, types, layers and the contract.
check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code

# Format the code.
format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write

# Generate the stubs from the contract.
protos: .venv/dev
	$(BIN)/python protos/generate.py

# Generate the pages and tables that come from the code.
docs: .venv/dev
	$(BIN)/python docs/generate.py

# Record the current contract as released: later changes must be compatible with it.
release-protos: .venv/dev
	$(BIN)/buf build -o protos/released.binpb

# Measure DICOMweb, gRPC (with ghz) and memory: see bench/README.md.
bench: .venv/dev
	$(BIN)/python -m bench web

bench-grpc: .venv/dev
	$(BIN)/python -m bench grpc

bench-memory: .venv/dev
	$(BIN)/python -m bench memory

# Write the software bill of materials.
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

sbom: .venv/dev
	$(BIN)/python -m requirements.sbom dist/dicomstore-$(VERSION).cdx.json

# Build the files of a release in dist/: wheel, pinned requirements, bill of materials, checksums.
release: sbom
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	cp requirements/build.txt requirements/runtime.txt dist/
	cd dist && sha256sum *.whl *.txt *.json > SHA256SUMS

# Download OHIF from npm, for `dicomstore up --viewer .viewer` and for the tests with a browser.
VIEWER := @ohif/app@3.13.2

viewer: .viewer/index.html

.viewer/index.html:
	rm -rf .viewer.new && mkdir .viewer.new
	cd .viewer.new && npm pack --silent $(VIEWER) && tar -xzf *.tgz package/dist
	cd .viewer.new/package/dist && find . -size +8k \( -name '*.js' -o -name '*.css' -o -name '*.wasm' \) -exec gzip -k {} +
	rm -rf .viewer && mv .viewer.new/package/dist .viewer && rm -rf .viewer.new
	touch $@

# JavaScript clients and an Azure server from npm, and an S3 server, which takes Go four minutes to build.
VERSITYGW := v1.8.0
PROMTOOL := v0.316.0

clients: .clients/package.json

.clients/package.json:
	mkdir -p .clients
	npm install --silent --no-audit --no-fund --prefix .clients dicomweb-client@0.11.3 xhr2@0.2.1 oidc-provider@9.13.3 \
		azurite@3.35.0
	GOBIN=$(CURDIR)/.clients/bin go install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW)
	GOBIN=$(CURDIR)/.clients/bin go install github.com/prometheus/prometheus/cmd/promtool@$(PROMTOOL)
	touch $@

# Compile dcm4che's tools, which no package registry has, from a checkout of its sources: make dcm4che SOURCE=../dcm4che
dcm4che: .venv/dev
	$(BIN)/python tests/e2e/clients/build_dcm4che.py $(SOURCE)

# Download Keycloak from Maven, for the tests with it: 170 MB, and half a gigabyte of memory while they run.
KEYCLOAK := org.keycloak:keycloak-quarkus-dist:26.4.0:zip

keycloak: .keycloak/version.txt

.keycloak/version.txt:
	rm -rf .keycloak.new && mkdir .keycloak.new
	mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy -Dartifact=$(KEYCLOAK) -DoutputDirectory=.keycloak.new
	cd .keycloak.new && unzip -q *.zip && rm *.zip
	rm -rf .keycloak && mv .keycloak.new/* .keycloak && rmdir .keycloak.new

# Create a virtual environment for development.
setup: .venv/dev

# Every package has a pinned version and hash. Packages without a wheel for this Python, and the project itself, are built with
# the pinned tools of requirements/build.txt.
INSTALL := $(BIN)/pip install --quiet --require-hashes --no-build-isolation --disable-pip-version-check

.venv/pip:
	$(PYTHON) -m venv .venv
	touch $@

.venv/build: .venv/pip requirements/build.txt
	$(INSTALL) --only-binary :all: -r requirements/build.txt
	touch $@

.venv/runtime: .venv/build requirements/runtime.txt pyproject.toml
	$(INSTALL) -r requirements/runtime.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --disable-pip-version-check --editable .
	touch $@

.venv/dev: .venv/runtime requirements/dev.txt
	$(INSTALL) -r requirements/dev.txt
	touch $@

# Pin the dependencies of pyproject.toml, and install them: see CONTRIBUTING.md. Pinned versions change only with UPGRADE=all or
# UPGRADE=PACKAGE, or when a new requirement needs it.
PIN = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --only-binary :all: --no-strip-extras \
	--no-emit-index-url --custom-compile-command "make requirements" \
	$(if $(UPGRADE),$(if $(filter all,$(UPGRADE)),--upgrade,--upgrade-package $(UPGRADE)))

requirements: $(BIN)/uv
	$(PIN) pyproject.toml --output-file requirements/runtime.txt
	$(PIN) pyproject.toml --group dev --constraints requirements/runtime.txt --output-file requirements/dev.txt
	$(PIN) --group build --constraints requirements/dev.txt --output-file requirements/build.txt
	$(MAKE) --silent setup
	$(BIN)/python -m requirements.licences

$(BIN)/uv:
	$(MAKE) --silent setup

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist
