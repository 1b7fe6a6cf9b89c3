# The programs as static binaries, as a user without rights, with nothing else: edge and tickgen in one image; marketdata and
# alerts, which have large libraries, in images of their own. A release:
#
#   docker build --build-arg VERSION=… --build-arg REVISION=$(git rev-parse HEAD) --build-arg SOURCE=https://… -t tickedge .
#   docker build … --target marketdata -t tickedge-marketdata .
#   docker build … --target alerts -t tickedge-alerts .
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# There is no git in here: without these edge -version knows no commit.
ARG VERSION
ARG REVISION
RUN CGO_ENABLED=0 go build -trimpath -tags grpcnotrace -o /out/ \
    -ldflags "-X tickedge/internal/app.version=$VERSION -X tickedge/internal/app.commit=$REVISION" \
    ./cmd/edge ./cmd/tickgen ./cmd/marketdata ./cmd/alerts
RUN mkdir -m 0700 /data

FROM scratch AS marketdata
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Tickedge marketdata" \
      org.opencontainers.image.description="Trades of exchanges to prices, bars and their history" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/marketdata /
# Bars and checkpoints. Mount a volume here that the user below may write to; a named one is that by itself.
COPY --from=build --chown=65532:65532 /data /data
ENV MARKETDATA_HISTORY=/data/bars
VOLUME /data
USER 65532:65532
# GET /history, and the admin port: of the loopback, unless MARKETDATA_ADMIN=:8091 says otherwise.
EXPOSE 8090 8091
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/marketdata", "healthcheck"]
# It stores what waits within 10 s: docker stop -t 20.
ENTRYPOINT ["/marketdata"]

FROM scratch AS alerts
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Tickedge alerts" \
      org.opencontainers.image.description="Prices watched for users, each told once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/alerts /
# Alerts, unless ALERTS_STORE names a database. Mount a volume here that the user below may write to; a named one is that by itself.
COPY --from=build --chown=65532:65532 /data /data
ENV ALERTS_STORE=/data/alerts
VOLUME /data
USER 65532:65532
# REST, the admin port (of the loopback, unless ALERTS_ADMIN=:8101 says otherwise), and gRPC with ALERTS_GRPC=:8102.
EXPOSE 8100 8101 8102
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/alerts", "healthcheck"]
ENTRYPOINT ["/alerts"]

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Tickedge" \
      org.opencontainers.image.description="Market ticks from Redis to WebSocket clients" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/edge /out/tickgen /
USER 65532:65532
# Clients, and the admin port: of the loopback, unless EDGE_ADMIN=:8081 says otherwise.
EXPOSE 8080 8081
# It asks /readyz of the admin port. Containers that run tickgen have none (--no-healthcheck).
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/edge", "healthcheck"]
# The edge needs up to EDGE_DRAIN_DELAY + EDGE_DRAIN + 15 s to end: docker stop --timeout 60.
ENTRYPOINT ["/edge"]
