# The six things people do with a clone. Each is a script, whose --help says more.
.PHONY: help up down test fast image docs

help:
	@echo 'make up      start a homeserver on port 8008'
	@echo 'make down    stop it; the data stays'
	@echo 'make fast    the checks and the tests that start no process'
	@echo 'make test    all checks and tests'
	@echo 'make image   build the Docker image'
	@echo 'make docs    write the pages and tables that come from the code'

up:
	./scripts/up --detach

down:
	./scripts/down

fast:
	./scripts/test --fast

test:
	./scripts/test

image:
	./scripts/build

docs:
	./scripts/docs
