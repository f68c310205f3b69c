// SPDX-License-Identifier: MIT

// Http is a web server that can be PID 1 of a container.
//
//	go run ./examples/http             # Ctrl-C ends it and prints the timeline
//	curl 'localhost:8080/slow?d=2s'    # a request in flight: it gets its response
//
// It listens on :$PORT, 8080 by default.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

func main() {
	addr, err := listenAddr(os.Getenv("PORT"))
	if err != nil {
		slog.Error("not started", "error", err)
		os.Exit(1)
	}

	var app pid1.App
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", hello)
	mux.HandleFunc("/slow", slow)
	mux.Handle("/readyz", app.ReadyHandler())

	srv := &http.Server{Addr: addr, Handler: mux}
	os.Exit(pid1.ExitCode(app.Run(context.Background(), srv)))
}

// listenAddr is the address for a value of $PORT.
func listenAddr(port string) (string, error) {
	if port == "" {
		port = "8080"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("$PORT is %q: want a number from 1 to 65535", port)
	}
	return ":" + port, nil
}

func hello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "hello from process", os.Getpid())
}

// slow answers after the duration d, or not at all when the client leaves or
// the shutdown's deadline comes first.
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
