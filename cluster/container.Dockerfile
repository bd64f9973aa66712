# An image with the locked environment: docker build -f cluster/container.Dockerfile -t blankslate .
# TORCH chooses another build of torch, as in make setup: --build-arg TORCH=cu126
# For a cluster: apptainer build blankslate.sif docker-daemon:blankslate:latest (cluster/README.md).
FROM python:3.12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make gcc libc6-dev git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/blankslate
COPY Makefile pyproject.toml requirements.lock blankslate.py README.md LICENSE ./
COPY pipeline pipeline
COPY jobs jobs
ARG TORCH=lock
RUN make setup TORCH="$TORCH"
ENV PATH="/opt/blankslate/.venv/bin:$PATH"
COPY configs configs
COPY cluster cluster
ENTRYPOINT ["blankslate"]
