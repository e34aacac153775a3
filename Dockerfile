# A static binary in an empty image, run by nobody in particular.
#
#   docker build -t sallyport .
#   docker run -p 8080:8080 -v sallyport:/data -v ./config.yaml:/etc/sallyport/config.yaml:ro sallyport
#
# In config.yaml: server.listen: 0.0.0.0:8080 and data_dir: /data. For https see docs/tls.md.

FROM golang:1.27.4 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/sallyport . \
 && mkdir -p /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/sallyport /sallyport
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["/sallyport", "healthcheck", "--config", "/etc/sallyport/config.yaml"]
ENTRYPOINT ["/sallyport"]
CMD ["serve", "--config", "/etc/sallyport/config.yaml"]
