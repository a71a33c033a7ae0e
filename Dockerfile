# The relay as a small image: one binary, no shell, not root.
# Debian 12 on both sides, so that the binary finds the glibc that it was linked against.
#
# The tags below move. Pin what you build from to its digest:
#   docker buildx imagetools inspect rust:1.95-slim-bookworm --format '{{.Manifest.Digest}}'
#   docker build --build-arg BUILD_IMAGE=rust:1.95-slim-bookworm@sha256:… \
#     --build-arg RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot@sha256:… .
ARG BUILD_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY kit ./kit
COPY proto ./proto
COPY rig ./rig
COPY webauthn ./webauthn
COPY src ./src
# Without the feature `rig`: demo, phone and bench have no business beside a relay that serves.
# The registry and the target directory are caches of the builder, not layers of the image.
# COPY gives a directory that it makes the mode 0755, and what lies in the copied one its own mode:
# so the data directory lies in one that is copied.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --no-default-features --bin fido-relay \
    && cp target/dist/fido-relay /fido-relay \
    && install -d -m 0700 /volumes/data

# glibc, libgcc and the certificate authorities, for a FIDO2 server over https.
FROM ${RUNTIME_IMAGE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fido-relay" \
    org.opencontainers.image.description="Relays FIDO2 ceremonies from a web page to a phone" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /fido-relay /usr/local/bin/fido-relay
# /data with mode 0700. A volume that is mounted here for the first time takes over its owner and
# mode (65532 is nonroot).
COPY --from=build --chown=65532:65532 /volumes/ /
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
