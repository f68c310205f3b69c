// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

func Example() {
	srv := &http.Server{Addr: ":8080", Handler: http.DefaultServeMux}
	os.Exit(pid1.ExitCode(pid1.Run(context.Background(), srv)))
}

// A server with a database that is closed after the last request, and a
// preflight check that must succeed within 5 seconds.
func ExampleApp() {
	var db interface {
		PingContext(ctx context.Context) error
		Close() error
	} // = sql.Open(…)

	var app pid1.App
	app.Before("database", shutdown.Within(5*time.Second, db.PingContext))
	app.Shutdown.Defer("database", func(context.Context) error { return db.Close() })

	mux := http.NewServeMux()
	mux.Handle("/readyz", app.ReadyHandler())
	err := app.Run(context.Background(), &http.Server{Addr: ":8080", Handler: mux})
	os.Exit(pid1.ExitCode(err))
}

// A worker stops when its context ends. Here it has nothing more to do after
// three jobs, which stops the App as well.
func ExampleFunc() {
	app := pid1.App{Logger: slog.New(slog.DiscardHandler)}
	err := app.Run(context.Background(), pid1.Func(func(ctx context.Context) error {
		for job := 1; job <= 3 && ctx.Err() == nil; job++ {
			fmt.Println("job", job)
		}
		return nil
	}))
	fmt.Println("exit code", pid1.ExitCode(err))
	// Output:
	// job 1
	// job 2
	// job 3
	// exit code 0
}

// A migration ends the App when it is done. Interrupted, it exits with 128+n, so
// that Kubernetes runs it again.
func ExampleJob() {
	app := pid1.App{Logger: slog.New(slog.DiscardHandler)}
	err := app.Run(context.Background(), pid1.Job(func(ctx context.Context) error {
		fmt.Println("migrated")
		return nil
	}))
	fmt.Println("exit code", pid1.ExitCode(err))
	// Output:
	// migrated
	// exit code 0
}

// What fails before Run is logged, too.
func ExampleExit() {
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		pid1.Exit(err)
	}
	pid1.Exit(pid1.Run(context.Background(), pid1.Listen(l, new(http.Server))))
}

// The reason for the end of a context tells a stop from anything else.
func ExampleSignalError() {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(&pid1.SignalError{Signal: os.Interrupt})
	fmt.Println(context.Cause(ctx))
	// Output: received SIGINT
}

// An HTTP server on a unix socket, drained like any other.
func ExampleListen() {
	l, err := net.Listen("unix", "/run/app.sock")
	if err != nil {
		os.Exit(pid1.ExitCode(err))
	}
	srv := &http.Server{Handler: http.DefaultServeMux}
	os.Exit(pid1.ExitCode(pid1.Run(context.Background(), pid1.Listen(l, srv))))
}

// A handler of a long-lived request says goodbye when the stop begins, and is
// then waited for like any request.
func ExampleApp_Stopping() {
	var app pid1.App
	events := func(w http.ResponseWriter, r *http.Request) {
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-tick.C:
				fmt.Fprint(w, "data: tick\n\n")
			case <-app.Stopping():
				fmt.Fprint(w, "event: bye\ndata:\n\n")
				return
			case <-r.Context().Done():
				return
			}
		}
	}
	srv := &http.Server{Addr: ":8080", Handler: http.HandlerFunc(events)}
	os.Exit(pid1.ExitCode(app.Run(context.Background(), srv)))
}

// Where did the time go? OnReport gets it all.
func ExampleApp_report() {
	app := pid1.App{Logger: slog.New(slog.DiscardHandler)}
	app.Shutdown.Defer("cache", func(context.Context) error { return nil })
	app.OnReport = func(r *shutdown.Report) {
		for _, step := range r.Steps {
			fmt.Println(step.Name, step.State)
		}
	}
	job := func(context.Context) error { return nil }
	if err := app.Run(context.Background(), pid1.Named("job", pid1.Func(job))); err != nil {
		fmt.Println(err)
	}
	// Output:
	// job ok
	// cache ok
}

// The server's last requests need the worker, so it stops first.
func ExampleInOrder() {
	worker := pid1.Named("worker", pid1.Func(func(ctx context.Context) error {
		<-ctx.Done()
		fmt.Println("worker stops")
		return nil
	}))
	srv := pid1.Named("server", pid1.Func(func(ctx context.Context) error {
		fmt.Println("server stops")
		return nil
	}))
	app := pid1.App{Logger: slog.New(slog.DiscardHandler)}
	err := app.Run(context.Background(), pid1.InOrder(worker, srv))
	fmt.Println("exit code", pid1.ExitCode(err))
	// Output:
	// server stops
	// worker stops
	// exit code 0
}

// A server of another library, by the two methods that each of them has.
func ExampleService() {
	l, err := net.Listen("tcp", "127.0.0.1:9000")
	if err != nil {
		pid1.Exit(err)
	}
	serve := func() error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return err // not an error of Run when the stop has closed l
			}
			go conn.Close()
		}
	}
	stop := func(context.Context) error { return l.Close() }
	pid1.Exit(pid1.Run(context.Background(), pid1.Service(serve, stop)))
}

// A process that is in a directory only while it can be reached.
func ExampleApp_OnReady() {
	var directory interface {
		Register(ctx context.Context) error
		Deregister(ctx context.Context) error
	}
	var app pid1.App
	app.OnReady("directory", shutdown.Within(5*time.Second, func(ctx context.Context) error {
		err := directory.Register(ctx)
		if err == nil {
			app.OnStop("directory", directory.Deregister)
		}
		return err
	}))
	pid1.Exit(app.Run(context.Background(), &http.Server{Addr: ":8080"}))
}

// The steps of OnStop come before the servers stop, the hooks after that.
func ExampleApp_OnStop() {
	app := pid1.App{Logger: slog.New(slog.DiscardHandler)}
	app.OnStop("lease", func(context.Context) error { fmt.Println("lease released"); return nil })
	app.Shutdown.Defer("database", func(context.Context) error { fmt.Println("database closed"); return nil })
	err := app.Run(context.Background(), pid1.Func(func(context.Context) error { return nil }))
	fmt.Println("exit code", pid1.ExitCode(err))
	// Output:
	// lease released
	// database closed
	// exit code 0
}

// A probe that also asks the database, and says in its body when that fails.
func ExampleApp_ReadyHandler() {
	var db interface {
		PingContext(ctx context.Context) error
	} // = sql.Open(…)

	var app pid1.App
	mux := http.NewServeMux()
	mux.Handle("GET /readyz", app.ReadyHandler(
		pid1.Check{Name: "database", Func: db.PingContext, Timeout: 500 * time.Millisecond}))
	pid1.Exit(app.Run(context.Background(), &http.Server{Addr: ":8080", Handler: mux}))
}

// HEALTHCHECK CMD ["/service", "healthcheck"] in an image that has nothing else.
func ExampleProbe() {
	if len(os.Args) > 1 && os.Args[1] == "healthcheck" {
		pid1.Exit(pid1.Probe("http://127.0.0.1:8080/readyz"))
	}
}

// Server-sent events (SSE): the handler watches its context only, and ends when the
// stop begins.
func ExampleApp_EndOnStop() {
	var app pid1.App
	events := func(w http.ResponseWriter, r *http.Request) {
		for tick := time.Tick(time.Second); ; {
			select {
			case <-tick:
				fmt.Fprint(w, "data: tick\n\n")
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /events", app.EndOnStop(http.HandlerFunc(events)))
	pid1.Exit(app.Run(context.Background(), &http.Server{Addr: ":8080", Handler: mux}))
}

// A watch ends two seconds after the stop has begun, with a last message.
func ExampleApp_UntilStopping() {
	var app pid1.App
	watch := func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := app.UntilStopping(r.Context(), 2*time.Second)
		defer cancel()
		<-ctx.Done() // or an event
		fmt.Fprintln(w, "come back:", context.Cause(ctx))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /watch", watch)
	pid1.Exit(app.Run(context.Background(), &http.Server{Addr: ":8080", Handler: mux}))
}

// Gauges for Prometheus or OpenTelemetry are functions that ask Stats.
func ExampleApp_Stats() {
	var app pid1.App
	gauges := map[string]func() float64{
		"http_requests_in_flight": func() float64 { return float64(app.Stats().InFlight) },
		"orphans_reaped_total":    func() float64 { return float64(app.Stats().Reaped) },
	}
	fmt.Println(gauges["http_requests_in_flight"]())
	// Output: 0
}

// Certificates that another program renews, such as cert-manager. It sends SIGHUP,
// or somebody does.
func ExampleApp_ReloadTLS() {
	var app pid1.App
	app.OnHangup = func(context.Context) error { return app.ReloadTLS() }
	srv := &http.Server{Addr: ":8443", Handler: http.DefaultServeMux}
	pid1.Exit(app.Run(context.Background(), pid1.TLS(srv, "/tls/tls.crt", "/tls/tls.key")))
}

func ExampleTLS() {
	srv := &http.Server{Addr: ":8443", Handler: http.DefaultServeMux}
	pid1.Exit(pid1.Run(context.Background(), pid1.TLS(srv, "/tls/tls.crt", "/tls/tls.key")))
}

// Two servers by their names in log, errors and report.
func ExampleNamed() {
	metrics := &http.Server{Addr: ":9090"}
	public := &http.Server{Addr: ":8080"}
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("metrics", metrics), pid1.Named("public", public)))
}

// A *grpc.Server has these methods.
func ExampleGRPC() {
	var srv interface {
		Serve(net.Listener) error
		GracefulStop()
		Stop()
	} // = grpc.NewServer()
	l, err := net.Listen("tcp", ":9000")
	if err != nil {
		pid1.Exit(err)
	}
	pid1.Exit(pid1.Run(context.Background(), pid1.GRPC(l, srv)))
}

// A ticker is a Server of a type of its own: it serves until Shutdown is called,
// and Shutdown returns when all is done.
type ticker struct{ stop, stopped chan struct{} }

func (s *ticker) ListenAndServe() error {
	defer close(s.stopped)
	for tick := time.Tick(time.Second); ; {
		select {
		case <-tick:
			fmt.Println("tick")
		case <-s.stop:
			return nil
		}
	}
}

func (s *ticker) Shutdown(ctx context.Context) error {
	close(s.stop)
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func ExampleServer() {
	s := &ticker{make(chan struct{}), make(chan struct{})}
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("ticker", s)))
}
