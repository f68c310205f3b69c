// SPDX-License-Identifier: MIT

// Stats: the App's numbers as Prometheus's metrics. OpenTelemetry's observable
// gauges take the same functions.
package main

import (
	"context"
	"net/http"
	"os"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	var app pid1.App
	gauge := func(name, help string, value func() float64) {
		prometheus.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("app_requests_in_flight", "Requests whose handlers run.", func() float64 { return float64(app.Stats().InFlight) })
	gauge("app_orphans_reaped", "Orphans that PID 1 has collected.", func() float64 { return float64(app.Stats().Reaped) })
	gauge("app_ready", "1 while the servers take requests.", func() float64 {
		if app.Ready() {
			return 1
		}
		return 0
	})
	mux := http.NewServeMux()
	mux.Handle("/", promhttp.Handler())
	pid1.Exit(app.Run(context.Background(), &http.Server{Addr: os.Getenv("ADDR"), Handler: mux}))
}
