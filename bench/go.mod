module github.com/entrypoint-go/entrypoint/bench

go 1.25.0

require (
	github.com/entrypoint-go/entrypoint v0.0.0
	github.com/hashicorp/go-reap v0.0.0-20170704170343-bf58d8a43e7b
	github.com/oklog/run v1.2.0
	github.com/ory/graceful v0.1.3
	github.com/ramr/go-reaper v0.2.3
	github.com/tylerb/graceful v1.2.15
	golang.org/x/net v0.53.0
	golang.org/x/sys v0.45.0
)

require (
	github.com/pkg/errors v0.9.1 // indirect
	golang.org/x/text v0.36.0 // indirect
)

replace github.com/entrypoint-go/entrypoint => ../
