module github.com/entrypoint-go/entrypoint/examples/imagecheck

go 1.25.0

require (
	github.com/google/go-containerregistry v0.22.1
	github.com/klauspost/compress v1.19.2
)

replace github.com/entrypoint-go/entrypoint => ../..
