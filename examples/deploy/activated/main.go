// SPDX-License-Identifier: MIT

// Activated is a web server for systemd, which hands it the open socket. So a
// restart refuses no connection: those that come between two processes wait in
// the socket, which stays systemd's. Without systemd it listens on :8080 itself.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/entrypoint-go/entrypoint/pid1"
)

func main() {
	l, err := listen()
	if err != nil {
		pid1.Exit(err)
	}
	var app pid1.App
	mux := http.NewServeMux()
	mux.Handle("/readyz", app.ReadyHandler())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello from process", os.Getpid())
	})
	pid1.Exit(app.Run(context.Background(), pid1.Listen(l, &http.Server{Handler: mux})))
}

// firstFD is the descriptor of the first socket (SD_LISTEN_FDS_START).
const firstFD = 3

// listen returns systemd's socket, by the protocol of sd_listen_fds(3), or one of
// its own.
func listen() (net.Listener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return net.Listen("tcp", ":8080")
	}
	if n := os.Getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("$LISTEN_FDS is %q: want 1 socket", n)
	}
	f := os.NewFile(firstFD, "systemd's socket")
	defer f.Close() // FileListener has a duplicate
	return net.FileListener(f)
}
