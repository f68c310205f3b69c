// SPDX-License-Identifier: MIT

// Prometheus serves HTTP with Prometheus's client, with the library.
package main

import (
	"context"
	"net/http"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	http.Handle("/metrics", promhttp.Handler())
	pid1.Exit(pid1.Run(context.Background(), &http.Server{Addr: ":8080"}))
}
