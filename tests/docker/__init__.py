"""Tests of docker-compose.yml, which need a Docker engine: `make test-docker`."""
