// SPDX-License-Identifier: MIT

// Healthcheck: a scratch image has no curl, so the program probes itself:
//
//	HEALTHCHECK CMD ["/app", "health"]
package main

import (
	"context"
	"net/http"
	"os"

	"github.com/entrypoint-go/entrypoint/pid1"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "health" {
		pid1.Exit(pid1.Probe("http://" + os.Getenv("ADDR") + "/readyz"))
	}
	var app pid1.App
	mux := http.NewServeMux()
	mux.Handle("/", app.ReadyHandler())
	pid1.Exit(app.Run(context.Background(), &http.Server{Addr: os.Getenv("ADDR"), Handler: mux}))
}
