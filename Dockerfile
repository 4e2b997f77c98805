# The book's whole environment, from the pins of requirements.txt.
#   docker build -t scoat-book --build-arg TORCH_INDEX=<an index of small torch wheels> .      CPU
#   docker build -t scoat-book .                              CUDA: pip's own torch; run with --gpus all
#   docker run --rm -v "$PWD/_build:/book/_build" scoat-book            builds the book
# The suite reads git's history, which no image needs: `make test` in the dev container, or with a clone mounted on /book.
FROM python:3.11-bookworm
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends chromium chromium-driver poppler-utils git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /book
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1
COPY Makefile pyproject.toml requirements.txt README.md LICENSE ./
COPY scoat_lib scoat_lib
COPY results results
RUN make .venv/ready TORCH_INDEX="$TORCH_INDEX"
COPY . .
ENV PATH=/book/.venv/bin:$PATH
CMD ["make", "book"]
