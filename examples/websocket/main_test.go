// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/entrypoint-go/entrypoint/pid1"
)

// TestGoingAway: what was sent is echoed, and a stop closes with 1001.
func TestGoingAway(t *testing.T) {
	app := pid1.App{Logger: slog.New(slog.DiscardHandler)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx, pid1.Listen(l, &http.Server{Handler: echo(app.Stopping())})) }()

	conn, _, err := websocket.Dial(t.Context(), "ws://"+l.Addr().String()+"/echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := conn.Read(t.Context()); err != nil || string(got) != "hello" {
		t.Fatalf("got %q, %v", got, err)
	}

	began := time.Now()
	stop()
	_, _, err = conn.Read(t.Context())
	if got, want := websocket.CloseStatus(err), websocket.StatusGoingAway; got != want {
		t.Errorf("closed with %v (%v), want %v", got, err, want)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	t.Logf("took %v", time.Since(began))
}
