// SPDX-License-Identifier: MIT

// Service is one binary for everything that a container of it is asked to do:
//
//	ENTRYPOINT ["/service"]
//	CMD ["serve", "--port", "8080"]
//
//	docker build -f examples/service/Dockerfile -t entrypoint-service .     # at the root of the repository
//	docker run --rm -v notes:/data entrypoint-service migrate               # CMD replaced, ENTRYPOINT kept
//	docker run --rm -v notes:/data -p 8080:8080 entrypoint-service          # the default: serve
//	docker run --rm -v notes:/data -p 9090:9090 --name notes entrypoint-service serve --port 9090
//	docker exec notes /service inspect                                      # a look inside, without a shell
//	docker run --rm --entrypoint /service entrypoint-service inspect        # ENTRYPOINT replaced, CMD dropped
//
// The database is the SQLite file that $DATABASE names, service.db by default.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/entrypoint-go/entrypoint/pid1"
	_ "modernc.org/sqlite"
)

// A command is one thing that the binary does. Its error decides the exit code.
type command struct {
	name, does string
	run        func(args []string) error
}

var commands = []command{
	{"serve", "serve HTTP until it is stopped", serve},
	{"migrate", "bring the database's tables up to date", migrate},
	{"healthcheck", "ask a running serve whether it is ready", healthcheck},
	{"inspect", "print what this process knows about its container", inspect},
}

func main() { os.Exit(run(os.Args[1:])) }

// run is main without the exit: it returns the exit code.
func run(args []string) int {
	if len(args) > 0 {
		for _, c := range commands {
			if c.name == args[0] {
				return exitCode(c.run(args[1:]))
			}
		}
		fmt.Fprintf(os.Stderr, "service: no command %q\n", args[0])
	}
	fmt.Fprintln(os.Stderr, "usage: service COMMAND [ARG ...]")
	for _, c := range commands {
		fmt.Fprintf(os.Stderr, "  %-12s %s\n", c.name, c.does)
	}
	return 2
}

// exitCode is pid1's, with a 2 for arguments that flag has already explained.
func exitCode(err error) int {
	var usage usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &usage):
		return 2
	}
	return pid1.ExitCode(err)
}

// A usageError has been printed by package flag.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// parse parses args, which must be flags only.
func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return usageError{err}
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "service %s: unexpected argument %q\n", flags.Name(), flags.Arg(0))
		return usageError{errors.New("unexpected argument")}
	}
	return nil
}

func portFlag(flags *flag.FlagSet) *uint {
	return flags.Uint("port", 8080, "TCP port")
}

func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	port := portFlag(flags)
	if err := parse(flags, args); err != nil {
		return err
	}

	// Deferred first, so closed last: after the last request and the worker.
	var app pid1.App
	db, err := open()
	if err != nil {
		return fail(err)
	}
	app.Shutdown.Defer("database", func(context.Context) error { return db.Close() })
	app.Before("database", db.PingContext)
	app.Before("tables", func(ctx context.Context) error { return current(ctx, db) })

	mux := http.NewServeMux()
	mux.Handle("GET /readyz", app.ReadyHandler())
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) {}) // never flips
	notes{db}.handle(mux)

	return app.Run(context.Background(),
		&http.Server{Addr: fmt.Sprintf(":%d", *port), Handler: mux},
		pid1.Named("expiry", pid1.Func(notes{db}.expire)))
}

func migrate(args []string) error {
	if err := parse(flag.NewFlagSet("migrate", flag.ContinueOnError), args); err != nil {
		return err
	}
	db, err := open()
	if err != nil {
		return fail(err)
	}
	var app pid1.App
	app.Shutdown.Defer("database", func(context.Context) error { return db.Close() })
	return app.Run(context.Background(), pid1.Named("migrate", pid1.Job(func(ctx context.Context) error {
		return migrateTo(ctx, db, schema)
	})))
}

// healthcheck is for HEALTHCHECK in images without a shell or curl.
func healthcheck(args []string) error {
	flags := flag.NewFlagSet("healthcheck", flag.ContinueOnError)
	port := portFlag(flags)
	if err := parse(flags, args); err != nil {
		return err
	}
	if err := pid1.Probe(fmt.Sprintf("http://127.0.0.1:%d/readyz", *port)); err != nil {
		return fail(err)
	}
	return nil
}

func inspect(args []string) error {
	if err := parse(flag.NewFlagSet("inspect", flag.ContinueOnError), args); err != nil {
		return err
	}
	fmt.Println(strings.TrimSpace(pid1.Inspect().String()))
	return nil
}

func open() (*sql.DB, error) {
	file := os.Getenv("DATABASE")
	if file == "" {
		file = "service.db"
	}
	return sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)")
}

// fail logs what App.Run does not see.
func fail(err error) error {
	slog.Error("failed", "error", err)
	return err
}
