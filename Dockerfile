# The edge and tickgen as static binaries, as a user without rights, with nothing else.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /out/ ./cmd/edge ./cmd/tickgen

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/edge /out/tickgen /
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/edge"]
