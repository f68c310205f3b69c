// SPDX-License-Identifier: MIT

// Prometheus: metrics on a port of their own, up until the main server is drained:
// InOrder stops last to first.
package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	main := http.NewServeMux()
	main.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		w.Write([]byte("done\n"))
	})
	metrics := http.NewServeMux()
	metrics.Handle("/metrics", promhttp.Handler())
	pid1.Exit(pid1.Run(context.Background(), pid1.InOrder(
		&http.Server{Addr: os.Getenv("METRICS_ADDR"), Handler: metrics},
		&http.Server{Addr: os.Getenv("ADDR"), Handler: main},
	)))
}
