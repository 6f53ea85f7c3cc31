# The image of dockbell: one static program, the certificates of public
# authorities, and a folder for data. It has no shell and no package manager, and
# runs as a user without rights.
#
#   docker build -t dockbell .
#   docker run -d --name dockbell -p 127.0.0.1:5000:5000 -v dockbell-data:/data --stop-timeout 35 dockbell
#   docker logs dockbell
#
# docs/docker.md says more.

# Any image with this version of Go does: a mirror's, or one made from the
# toolchain of a machine, as scripts/docker.sh does.
ARG GO_IMAGE=golang:1.26
FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY internal internal
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /built/dockbell ./cmd/dockbell
RUN mkdir -p -m 0700 /owned/data

FROM scratch
# By these the certificates of receivers, of an egress proxy and of PostgreSQL are
# checked.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /built/dockbell /
# A new volume takes owner and mode from the folder that it is put over.
COPY --from=build --chown=65532:65532 /owned /

# In a container loopback reaches nobody, so the server listens on every address,
# and which of them are published is for docker run -p. Three things follow:
# - webhooks reach public addresses only, and no loopback. Receivers in the
#   container's networks or on its host need DOCKBELL_ALLOW_DESTINATIONS.
# - It is plain HTTP, so publish it on 127.0.0.1, or behind something that ends
#   TLS, or set DOCKBELL_TLS, or DOCKBELL_TLS_CERT and _KEY.
# - It answers to localhost, to addresses, and to names below DOCKBELL_DOMAIN. Other
#   names that clients use go into DOCKBELL_EXTERNAL_URL or DOCKBELL_ALIAS.
#
# Settings belong in the environment, or in the file that DOCKBELL_CONFIG names:
# there the health check and commands by docker exec find them, in flags they do
# not.
ENV DOCKBELL_LISTEN=:5000 DOCKBELL_DATA=/data
USER 65532:65532
VOLUME /data
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["/dockbell", "health"]
ENTRYPOINT ["/dockbell"]
CMD ["serve"]
