# syntax=docker/dockerfile:1

# The relay as a small image: one binary, no shell, not root.
# Debian 12 on both sides, so that the binary finds the glibc that it was linked against.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY proto ./proto
COPY src ./src
# The registry and the target directory are caches of the builder, not layers of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin fido-relay \
    && cp target/release/fido-relay /fido-relay \
    && mkdir -m 0700 /data

# glibc, libgcc and the certificate authorities, for a FIDO2 server over https.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /fido-relay /usr/local/bin/fido-relay
# A volume that is mounted here for the first time takes over this owner (65532 is nonroot).
COPY --from=build --chown=65532:65532 /data /data
VOLUME /data
# Every interface of the container. The relay refuses to start like this until it is told either
# FIDO_RELAY_PUBLIC_URL=https://… (TLS ends at a proxy in front) or FIDO_RELAY_ALLOW_PLAINTEXT=true.
ENV FIDO_RELAY_LISTEN=0.0.0.0:8080 \
    FIDO_RELAY_DATA_DIR=/data
EXPOSE 8080
# There is no curl in the image: the binary asks itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/fido-relay", "health"]
ENTRYPOINT ["/usr/local/bin/fido-relay"]
CMD ["serve"]
