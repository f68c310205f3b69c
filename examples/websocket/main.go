// SPDX-License-Identifier: MIT

// Websocket is an echo server whose clients are told when it goes away: a stop
// closes every WebSocket with code 1001, so that browsers connect again at once,
// elsewhere.
//
//	go run .            # in this folder; Ctrl-C stops it
//
// The server waits for its handlers, which say goodbye when App.Stopping is
// closed. A handler that does not is cut off shortly before the deadline.
package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"

	"github.com/coder/websocket"
	"github.com/entrypoint-go/entrypoint/pid1"
)

func main() {
	var app pid1.App
	mux := http.NewServeMux()
	mux.Handle("GET /echo", echo(app.Stopping()))
	mux.Handle("GET /readyz", app.ReadyHandler())

	srv := &http.Server{Addr: ":8080", Handler: mux}
	os.Exit(pid1.ExitCode(app.Run(context.Background(), srv)))
}

// echo sends back what it receives, until the client leaves or stopping is closed.
func echo(stopping <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // the client has been told
		}
		defer conn.CloseNow()

		// Close also ends the Read below, when the client has answered.
		over := make(chan struct{})
		goodbye := make(chan struct{})
		go func() {
			defer close(goodbye)
			select {
			case <-stopping:
				conn.Close(websocket.StatusGoingAway, "the server restarts: connect again")
			case <-over:
			}
		}()
		defer func() { close(over); <-goodbye }()

		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				slog.Debug("connection ended", "error", err)
				return
			}
			if err := conn.Write(r.Context(), kind, message); err != nil {
				return
			}
		}
	})
}
