# The controller's image. Build it from the root of the repository:
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v0.1.0 .
ARG GO_VERSION=1.26

FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY api/ api/
RUN go mod download
COPY cmd/ cmd/
COPY internal/ internal/
ARG TARGETOS TARGETARCH VERSION=dev
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /reloader ./cmd/reloader

# Certificate authorities and time zones, and nothing to log in to.
FROM gcr.io/distroless/static-debian13:nonroot
COPY --from=build /reloader /reloader
# A number, so that the kubelet can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/reloader"]
