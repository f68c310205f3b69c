// SPDX-License-Identifier: MIT

// Prometheusplain is prometheus without the library.
package main

import (
	"log/slog"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	http.Handle("/metrics", promhttp.Handler())
	slog.Error("stopped", "error", http.ListenAndServe(":8080", nil))
	os.Exit(1)
}
