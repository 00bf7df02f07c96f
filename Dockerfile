# Two images: `docker build --target cpu -t m2v .` and `docker build --target cuda -t m2v:cuda .`
#   docker run --rm -it -p 8888:8888 m2v jupyter lab --ip 0.0.0.0 --allow-root notebooks
#   docker run --rm --gpus all -v "$PWD/reports:/m2v/reports" m2v:cuda m2v bench --preset base --device cuda --quick
# A cluster's jobs run in them too (docs/cluster.md): the checkout is then mounted at /m2v.
FROM python:3.12-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
ENV VENV=/opt/venv PATH=/opt/venv/bin:$PATH
WORKDIR /m2v
COPY . .
# Names the code in run records, since .git stays outside: --build-arg M2V_COMMIT=$(git rev-parse --short=12 HEAD)
ARG M2V_COMMIT=
ENV M2V_COMMIT=$M2V_COMMIT

# torch brings its own CUDA libraries; the host gives the driver (NVIDIA Container Toolkit).
FROM base AS cuda
RUN make setup cluster
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["m2v", "--help"]

FROM base AS cpu
RUN UV_TORCH_BACKEND=cpu make setup cluster
CMD ["m2v", "--help"]
