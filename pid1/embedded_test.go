// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

type web struct{ *http.Server }

// A refuser is a server that is not HTTP's.
type refuser struct{}

func (r *refuser) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil
		}
		conn.Close()
	}
}

func (r *refuser) Shutdown(context.Context) error { return nil }

// TestEmbeddedServer: Run warns of a server that looks as if it were drained, and of
// no other.
func TestEmbeddedServer(t *testing.T) {
	t.Parallel()
	plain := func() *http.Server { return &http.Server{Addr: "127.0.0.1:0"} }
	listen := func(s interface {
		Serve(net.Listener) error
		Shutdown(context.Context) error
	}) pid1.Server {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return pid1.Listen(l, s)
	}
	type server struct{ http.Server }
	for _, test := range []struct {
		name   string
		server pid1.Server
		want   bool
	}{
		{"pointer", web{plain()}, true},
		{"value", &server{http.Server{Addr: "127.0.0.1:0"}}, true},
		{"twice", &struct{ web }{web{plain()}}, true},
		{"named", pid1.Named("web", web{plain()}), true},
		{"Listen", listen(web{plain()}), true},
		{"not embedded", plain(), false},
		{"not embedded, Listen", listen(plain()), false},
		{"another type", listen(new(refuser)), false},
		{"Func", pid1.Func(func(ctx context.Context) error { <-ctx.Done(); return nil }), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			app := pid1.App{Logger: slog.New(slog.NewTextHandler(&log, nil))}
			ctx, stop := context.WithCancel(t.Context())
			go func() {
				for !app.Ready() {
					time.Sleep(time.Millisecond)
				}
				stop()
			}()
			if err := app.Run(ctx, test.server); err != nil {
				t.Log(err) // of a Serve that began after Shutdown
			}
			if n := strings.Count(log.String(), "embeds an *http.Server"); n != 1 && test.want || n != 0 && !test.want {
				t.Errorf("%d warnings, want one: %v\n%s", n, test.want, &log)
			}
		})
	}
}
