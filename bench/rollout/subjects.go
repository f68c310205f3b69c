// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// role does not return in a container: there this program is one of the
// servers, the load, or what ends the load.
func role() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		s, ok := subjects[os.Args[2]]
		if !ok {
			exit(fmt.Errorf("no subject %q", os.Args[2]))
		}
		exit(s())
	case len(os.Args) == 3 && os.Args[1] == "load":
		exit(loadMain(os.Args[2]))
	case len(os.Args) == 2 && os.Args[1] == "finish":
		exit(syscall.Kill(1, syscall.SIGUSR1))
	}
}

// The subjects, by the names that containers have; delayed is for engines in
// which the library has no delay by default.
const (
	ours    = "ours"
	delayed = "delayed"
	none    = "none"
	plain   = "plain"
	sleep   = "sleep"
)

// subjects serve until SIGTERM, as the main function of a program would.
var subjects = map[string]func() error{
	ours:    func() error { return serveOurs(0) },
	delayed: func() error { return serveOurs(knownDelay) },
	none:    func() error { return server(okay).ListenAndServe() },
	plain:   func() error { return servePlain(0) },
	sleep:   func() error { return servePlain(sleepBefore) },
}

// knownDelay is for a user who knows that the proxy is two seconds late.
const knownDelay = 3 * time.Second

// sleepBefore is what people write before Shutdown, and into preStop hooks.
const sleepBefore = 5 * time.Second

var titles = map[string]string{
	ours:    "this library",
	delayed: fmt.Sprintf("this library, Delay %v", knownDelay),
	none:    "net/http, no signal handling",
	plain:   "net/http, NotifyContext and Shutdown",
	sleep:   fmt.Sprintf("the same after %v", sleepBefore),
}

const port = "8080"

// server answers every path but /readyz, which is left to ready.
func server(ready http.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("/readyz", ready)
	mux.HandleFunc("/", answer)
	return &http.Server{Addr: ":" + port, Handler: mux}
}

const body = "done\n"

// answer answers at once, or after the time that the query asks for.
func answer(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	if d, err := time.ParseDuration(r.URL.Query().Get("slow")); err == nil {
		time.Sleep(d)
	}
	io.WriteString(w, body)
}

// okay is the readiness of a server that says nothing of its stop.
var okay = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})

func serveOurs(delay time.Duration) error {
	app := pid1.App{Delay: delay}
	return app.Run(context.Background(), server(app.ReadyHandler()))
}

// servePlain is the example of http.Server.Shutdown, with a pause before.
func servePlain(pause time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	srv := server(okay)
	failed := make(chan error, 1)
	go func() { failed <- srv.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	time.Sleep(pause)
	if err := srv.Shutdown(context.Background()); err != nil {
		return err
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
