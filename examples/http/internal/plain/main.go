// SPDX-License-Identifier: MIT

// Plain is the server of examples/http without the library, to tell what the
// library costs.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", hello)
	mux.HandleFunc("/slow", slow)

	slog.Info("serving")
	err := http.ListenAndServe(":"+os.Getenv("PORT"), mux)
	slog.Error("stopped", "error", err)
	os.Exit(1)
}

func hello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "hello from process", os.Getpid())
}

func slow(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.FormValue("d"))
	if err != nil || d < 0 {
		http.Error(w, fmt.Sprintf("d is %q: want a duration such as 2s or 300ms", r.FormValue("d")), http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(d):
		fmt.Fprintln(w, "done after", d)
	case <-r.Context().Done():
		http.Error(w, context.Cause(r.Context()).Error(), http.StatusServiceUnavailable)
	}
}
