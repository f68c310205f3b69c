module github.com/entrypoint-go/entrypoint/examples/websocket

go 1.25.0

require github.com/entrypoint-go/entrypoint v0.0.0

require (
	github.com/coder/websocket v1.8.14
	golang.org/x/sys v0.45.0 // indirect
)

replace github.com/entrypoint-go/entrypoint => ../..
