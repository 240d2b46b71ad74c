# syntax=docker/dockerfile:1
# The command, for nodes and learners: docker build -t colearn .   See docs/install.md.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin colearn \
    && install -m 0755 -s target/release/colearn /usr/local/bin/colearn

FROM debian:bookworm-slim
# Folders that belong to it: volumes that are made from them do, too.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /var/lib/colearn colearn \
    && install -d -o colearn -g colearn -m 0700 /var/lib/colearn /keys
COPY --from=build /usr/local/bin/colearn /usr/local/bin/colearn
USER 10001:10001
EXPOSE 7400
# Asked as the node itself, which may read. Where it has TLS, COLEARN_NODE names it: https://HOST:7400#sha256:...
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["colearn", "node", "status", "--auth-key", "/var/lib/colearn/node.pem"]
ENTRYPOINT ["colearn"]
CMD ["node", "--data", "/var/lib/colearn", "--listen", "0.0.0.0:7400", "--tls-self-signed"]
