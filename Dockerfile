# The edge and tickgen as static binaries, as a user without rights, with nothing else. A release:
#
#   docker build --build-arg VERSION=… --build-arg REVISION=$(git rev-parse HEAD) --build-arg SOURCE=https://… -t tickedge .
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# There is no git in here: without these edge -version knows no commit.
ARG VERSION
ARG REVISION
RUN CGO_ENABLED=0 go build -trimpath -tags grpcnotrace -o /out/ \
    -ldflags "-X tickedge/internal/app.version=$VERSION -X tickedge/internal/app.commit=$REVISION" ./cmd/edge ./cmd/tickgen

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
