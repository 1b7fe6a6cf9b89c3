# The edge and tickgen as static binaries, as a user without rights, with nothing else.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# There is no git in here: without these edge -version knows no commit.
ARG VERSION
ARG REVISION
RUN CGO_ENABLED=0 go build -trimpath -o /out/ \
    -ldflags "-X tickedge/internal/app.version=$VERSION -X tickedge/internal/app.commit=$REVISION" ./cmd/edge ./cmd/tickgen

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/edge /out/tickgen /
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/edge"]
