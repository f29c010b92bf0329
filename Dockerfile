# loadgen and scenariod in one small image: docker build -t memcache-client-reliability:local .

# What decides which dependencies are built, and how: manifests and the lock file. cargo wants a source for each target, so there
# are empty ones (with a blank, because find replaces {}). While none of this changes, content and times stay the same, and so does
# every layer that is made of it.
FROM debian:12.12-slim AS manifests
WORKDIR /src
COPY . .
RUN find . -type f -regextype posix-extended \
        ! -regex '.*/(Cargo\.(toml|lock)|(lib|main)\.rs|(bin|tests|benches|examples)/.*\.rs)' -delete \
    && find . -name '*.rs' -exec sh -c 'for file; do echo "fn main() { }" > "$file"; done' sh {} + \
    && find . -type d -empty -delete \
    && find . -exec touch --date=2000-01-01 {} +

# The compiler of rust-toolchain.toml; a test compares them.
FROM rust:1.95.0-slim-bookworm AS build
# zstd, ring: C code.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The image has that compiler already, without the tools that developers want beside it.
ENV RUSTUP_TOOLCHAIN=1.95.0
# The dependencies, without any source of ours: another change than to a manifest uses this layer again. It needs no BuildKit.
COPY --from=manifests /src .
RUN cargo build --profile dist --locked --bin loadgen --bin scenariod
COPY . .
# cargo goes by times, and a source may be older than what was built of its empty one.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && cargo build --profile dist --locked --bin loadgen --bin scenariod \
    && mkdir /runs

# The same Debian: the binaries are linked with its C library.
FROM debian:12.12-slim
COPY --from=build /src/target/dist/loadgen /src/target/dist/scenariod /usr/local/bin/
COPY --from=build --chown=65532:65532 /runs /runs
# A new named volume takes owner and mode of the folder that it covers.
VOLUME /runs
WORKDIR /runs
USER 65532:65532
EXPOSE 9090 9092
# Which of the two, and its flags: `docker run IMAGE loadgen --help`.
CMD ["scenariod", "--help"]
