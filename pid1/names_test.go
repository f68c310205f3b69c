// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// TestBoundAddress: the port that :0 has become is in the log's line.
func TestBoundAddress(t *testing.T) {
	var log bytes.Buffer
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		for !app.Ready() {
			time.Sleep(time.Millisecond)
		}
		stop()
	}()
	server := func() *http.Server { return &http.Server{Addr: "127.0.0.1:0"} }
	cert, _ := certificate()
	secure := server()
	secure.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	if err := app.Run(ctx, pid1.Named("api", server()), server(), server(), pid1.TLS(secure, "", "")); err != nil {
		t.Fatal(err)
	}
	want := `servers="api on 127\.0\.0\.1:[1-9]\d*, http 127\.0\.0\.1:[1-9]\d*, http 127\.0\.0\.1:[1-9]\d*, https 127\.0\.0\.1:[1-9]\d*"`
	if !regexp.MustCompile(want).MatchString(log.String()) {
		t.Errorf("no %s in\n%s", want, &log)
	}
}

// The address is left out where the name has it, and only there.
func TestAddressInName(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	addr := l.Addr().String()
	port := addr[strings.LastIndex(addr, ":")+1:]
	for _, test := range []struct{ addr, name, want string }{
		{addr, "", "http " + addr},
		{":" + port, "", "http :" + port},
		{addr, "api :" + port, "api :" + port},
		{addr, "api", "api on " + addr},
		{addr, "api " + port, "api " + port + " on " + addr},
		{addr, "api :1" + port, "api :1" + port + " on " + addr},
		{"127.0.0.1:", "", "http 127.0.0.1:[1-9]\\d*"},
		{"127.0.0.1:00", "", "http 127.0.0.1:[1-9]\\d*"},
	} {
		var log bytes.Buffer
		app := pid1.App{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		var srv pid1.Server = &http.Server{Addr: test.addr}
		if test.name != "" {
			srv = pid1.Named(test.name, srv)
		}
		ctx, cancel := context.WithCancel(t.Context())
		app.OnReady("stop", func(context.Context) error { cancel(); return nil })
		err := app.Run(ctx, srv)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // somebody else has got the port
		}
		if err != nil {
			t.Error(err)
		}
		if !regexp.MustCompile(`servers="` + test.want + `" `).MatchString(log.String()) {
			t.Errorf("addr %q, name %q: no servers=%q in\n%s", test.addr, test.name, test.want, &log)
		}
	}
}
