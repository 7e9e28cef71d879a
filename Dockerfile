# One image for every process of docker-compose.yml: Flower's programs with phloem beside them.
FROM python:3.11-slim
RUN useradd --uid 49999 --create-home --home-dir /app app
WORKDIR /build
# torch without CUDA is several GB smaller: name the index that has it, --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL=""
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt . && mkdir /app/runs /app/state /app/tokens && chown app /app/runs /app/state /app/tokens
USER app
WORKDIR /app
ENV HOME=/app
