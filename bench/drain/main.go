// SPDX-License-Identifier: MIT

// Command drain measures how HTTP servers stop on SIGTERM, side by side: with
// this library, with net/http alone, and with other Go libraries.
//
//	go run ./drain            # everything; writes RESULTS.md
//	go run ./drain -short     # few stops, to standard output
//	go run ./drain -only requests -stops 50
//
// Every server is a process of its own on the loopback interface, or PID 1 of a Docker
// container. The subjects take turns stop by stop.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

func main() {
	serverRole()
	var o options
	flag.BoolVar(&o.short, "short", false, "one run of 10 stops, with short requests: a smoke test, no measurement")
	flag.StringVar(&o.only, "only", "", "comma-separated measurements; empty: all of "+new(bench).measurements().Names())
	flag.StringVar(&o.file, "o", "RESULTS.md", "file to put the sections into; not with -short")
	flag.IntVar(&o.stops, "stops", 200, "stops of each subject in a run")
	flag.IntVar(&o.runs, "runs", 3, "runs of the measurement of requests")
	flag.Parse()
	exit(run(os.Stdout, o))
}

// serverRole does not return in a process that was started as a server.
func serverRole() {
	if len(os.Args) != 3 || os.Args[1] != "serve" {
		return
	}
	var j job
	if err := json.Unmarshal([]byte(os.Args[2]), &j); err != nil {
		exit(fmt.Errorf("job %q: %w", os.Args[2], err))
	}
	exit(serverMain(j))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "drain:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type options struct {
	short       bool
	only        string
	file        string
	stops, runs int
}

// bench measures all subjects.
type bench struct {
	options
}

func (b *bench) measurements() report.Measurements {
	return report.Measurements{
		{Name: "requests", Run: b.requests},
		{Name: "return", Run: b.returns},
		{Name: "http2", Run: b.http2},
		{Name: "pauses", Run: b.pauses},
		{Name: "slow", Run: b.slowReaders},
		{Name: "docker", Run: b.slowInDocker},
		{Name: "idle", Run: b.idle},
	}
}

func run(w io.Writer, o options) error {
	b := &bench{options: o}
	if o.short {
		b.stops, b.runs, b.file = 10, 1, ""
	}
	return b.measurements().Run(w, "drain", b.only, b.file)
}

// inTurn calls f n times for each subject, one after the other, each time with
// another one first.
func inTurn(n int, f func(name string) error) error {
	for i := range n {
		for j := range order {
			name := order[(i+j)%len(order)]
			if err := f(name); err != nil {
				return fmt.Errorf("stop %d by %s: %w", i+1, name, err)
			}
		}
	}
	return nil
}

// atOnce calls f n times for each subject, for all of them at the same time.
func atOnce(n int, f func(name string) error) error {
	for i := range n {
		errs := make([]error, len(order))
		var all sync.WaitGroup
		for j, name := range order {
			all.Go(func() { errs[j] = f(name) })
		}
		all.Wait()
		for j, err := range errs {
			if err != nil {
				return fmt.Errorf("stop %d by %s: %w", i+1, order[j], err)
			}
		}
	}
	return nil
}
