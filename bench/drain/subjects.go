// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	oklog "github.com/oklog/run"
	ory "github.com/ory/graceful"
	tylerb "github.com/tylerb/graceful"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A subject serves until SIGTERM, as the main function of a program would, and
// returns when the stop is over, for which it has grace. The server uses TLS
// when it has a TLSConfig.
type subject func(srv *http.Server, grace time.Duration) error

// The names of the subjects.
const (
	ours       = "this library"
	plain      = "Server.Shutdown"
	tylerbName = "tylerb/graceful"
	oryName    = "ory/graceful"
	runName    = "oklog/run"
)

// order is that of the tables.
var order = []string{ours, plain, tylerbName, oryName, runName}

var subjects = map[string]subject{
	ours:       serveOurs,
	plain:      servePlain,
	tylerbName: serveTylerb,
	oryName:    serveOry,
	runName:    serveRun,
}

// title is the name with the version.
func title(subject string) string {
	switch subject {
	case tylerbName, oryName, runName:
		return report.Module("github.com/" + subject)
	}
	return subject
}

func serveOurs(srv *http.Server, grace time.Duration) error {
	app := pid1.App{
		Shutdown: shutdown.Pipeline{Grace: grace},
		Delay:    -1, // nobody but the clients routes, in Kubernetes neither
		Logger:   slog.New(slog.DiscardHandler),
	}
	if srv.TLSConfig != nil {
		return app.Run(context.Background(), pid1.TLS(srv, "", ""))
	}
	return app.Run(context.Background(), srv)
}

// servePlain is what the example of http.Server.Shutdown does.
func servePlain(srv *http.Server, grace time.Duration) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- listenAndServe(srv) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return shutDown(srv, grace)
	}
}

func serveTylerb(srv *http.Server, grace time.Duration) error {
	g := tylerb.Server{Server: srv, Timeout: grace}
	if srv.TLSConfig != nil {
		return g.ListenAndServeTLSConfig(srv.TLSConfig)
	}
	return g.ListenAndServe()
}

func serveOry(srv *http.Server, grace time.Duration) error {
	ory.DefaultShutdownTimeout = grace
	return ory.Graceful(func() error { return listenAndServe(srv) }, srv.Shutdown)
}

func serveRun(srv *http.Server, grace time.Duration) error {
	var g oklog.Group
	g.Add(oklog.SignalHandler(context.Background(), os.Interrupt, syscall.SIGTERM))
	g.Add(func() error { return listenAndServe(srv) }, func(error) { shutDown(srv, grace) })
	return g.Run()
}

func listenAndServe(srv *http.Server) error {
	if srv.TLSConfig != nil {
		return srv.ListenAndServeTLS("", "")
	}
	return srv.ListenAndServe()
}

func shutDown(srv *http.Server, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	return srv.Shutdown(ctx)
}
