# The relay as a small image: one binary, no shell, not root.
# Both stages use Debian 12, so that the binary finds the glibc that it was linked against.
#
# The tags below move. Pin the base images to their digests:
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
# Without the feature `rig`: demo, phone and bench are not needed in production.
# The registry and the target directory are caches of the builder, not layers of the image.
# COPY creates its target directory with mode 0755 but keeps the modes of the copied contents, so the
# data directory is inside a directory that is copied.
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
# /data with mode 0700. A new volume mounted here inherits its owner and mode (65532 is nonroot).
COPY --from=build --chown=65532:65532 /volumes/ /
VOLUME /data
# All interfaces of the container. With this the relay starts only with FIDO_RELAY_PUBLIC_URL=https://…
# (TLS ends at a proxy in front) or FIDO_RELAY_ALLOW_PLAINTEXT=true.
ENV FIDO_RELAY_LISTEN=0.0.0.0:8080 \
    FIDO_RELAY_DATA_DIR=/data
EXPOSE 8080
# The image has no curl: the binary checks the relay itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/fido-relay", "health"]
ENTRYPOINT ["/usr/local/bin/fido-relay"]
CMD ["serve"]
