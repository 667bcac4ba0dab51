# syntax=docker/dockerfile:1
# Three stages: the binary, ONNX Runtime's shared library, and an image that holds only those two, the model and the
# configuration.

FROM rust:1.95-bookworm AS build
# Debian keeps one version of a package in a release and drops it with the next security fix: a pin would only break.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libssl-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The caches outlive the layer, so that a change of one file does not build every dependency again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin bellwether \
    && install -D --mode=0755 target/release/bellwether /out/bellwether

# The wheel of ONNX Runtime is only a parcel here: what is kept is its shared library. The files that are named
# after the package pin every version and hash. ORT_PACKAGE is onnxruntime or onnxruntime-gpu.
FROM python:3.11-slim-bookworm AS onnxruntime
ARG ORT_PACKAGE=onnxruntime
COPY docker/${ORT_PACKAGE}.txt /requirements.txt
RUN pip download --no-cache-dir --no-deps --only-binary=:all: --require-hashes --requirement /requirements.txt --dest /wheels \
    && for wheel in /wheels/*.whl; do python -m zipfile --extract "${wheel}" /unpacked || exit 1; done \
    && mkdir --parents /out \
    && find /unpacked -type f \( -path '*/onnxruntime/capi/libonnxruntime*.so*' -o -path '*/nvidia/*/lib/*.so*' \) -exec mv --target-directory=/out {} + \
    && rm -rf /wheels /unpacked \
    && ln --symbolic "$(basename /out/libonnxruntime.so.1.*)" /out/libonnxruntime.so

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin bellwether
COPY --from=onnxruntime /out /opt/onnxruntime
COPY --from=build /out/bellwether /usr/local/bin/bellwether
WORKDIR /opt/bellwether
COPY models models
COPY config config
# LD_LIBRARY_PATH is for the CUDA libraries that lie beside ONNX Runtime in the GPU image.
ENV ORT_DYLIB_PATH=/opt/onnxruntime/libonnxruntime.so \
    LD_LIBRARY_PATH=/opt/onnxruntime
USER 10001:10001
EXPOSE 8080 9464
# No HEALTHCHECK: the image has no HTTP client, and what runs it (compose, Kubernetes) has its own checks. Ask /ready on
# port 9464, and /live to find out whether to restart.
ENTRYPOINT ["bellwether"]
CMD ["run"]
