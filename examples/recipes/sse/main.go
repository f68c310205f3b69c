// SPDX-License-Identifier: MIT

// Sse: server-sent events and long polls watch only their context. EndOnStop ends
// it when the stop begins; without it they would use up the grace.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

func main() {
	var app pid1.App
	events := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for tick := time.Tick(20 * time.Millisecond); ; {
			fmt.Fprint(w, "data: tick\n\n")
			http.NewResponseController(w).Flush()
			select {
			case <-tick:
			case <-r.Context().Done():
				fmt.Fprint(w, "event: bye\ndata: reconnect\n\n")
				return
			}
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/events", app.EndOnStop(http.HandlerFunc(events)))
	mux.Handle("/", app.ReadyHandler())
	pid1.Exit(app.Run(context.Background(), &http.Server{Addr: os.Getenv("ADDR"), Handler: mux}))
}
