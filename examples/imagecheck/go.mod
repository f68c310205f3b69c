module github.com/entrypoint-go/entrypoint/examples/imagecheck

go 1.25.0

require (
	github.com/entrypoint-go/entrypoint v0.0.0
	github.com/google/go-containerregistry v0.22.1
	github.com/klauspost/compress v1.19.2
	mvdan.cc/sh/v3 v3.13.1
)

require (
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace github.com/entrypoint-go/entrypoint => ../..
