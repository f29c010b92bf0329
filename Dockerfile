# loadgen and scenariod in one small image: docker build -t memcache-client-reliability:local .
# The compiler of rust-toolchain.toml; a test compares them.
FROM rust:1.95.0-slim-bookworm AS build
# zstd, ring: C code.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The image has that compiler already, without the tools that developers want beside it.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN cargo build --release --locked --bin loadgen --bin scenariod \
    && strip target/release/loadgen target/release/scenariod \
    && mkdir /runs

# The same Debian: the binaries are linked with its C library.
FROM debian:12.12-slim
COPY --from=build /src/target/release/loadgen /src/target/release/scenariod /usr/local/bin/
COPY --from=build --chown=65532:65532 /runs /runs
# A new named volume takes owner and mode of the folder that it covers.
VOLUME /runs
WORKDIR /runs
USER 65532:65532
EXPOSE 9090 9092
# Which of the two, and its flags: `docker run IMAGE loadgen --help`.
CMD ["scenariod", "--help"]
