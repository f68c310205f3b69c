// SPDX-License-Identifier: MIT

// Command reaper measures what collects orphans as PID 1, side by side: this
// library's reaper, other reapers in Go, and the small inits that are put
// above a program.
//
//	go run ./reaper            # everything, as root; writes RESULTS.md
//	go run ./reaper -short     # small counts, to standard output
//	go run ./reaper -only burst,lifetime
//
// Every figure comes from a real PID 1 in a new PID namespace of its own. The
// subjects take turns within a round, and there are several rounds; the tables
// show the median and, in parentheses, the least and the greatest round.
package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

func main() {
	otherRoles()
	var o options
	flag.BoolVar(&o.short, "short", false, "small counts: a smoke test, no measurement")
	flag.StringVar(&o.only, "only", "", "comma-separated measurements; empty: all of "+new(bench).measurements().Names())
	flag.StringVar(&o.file, "o", "RESULTS.md", "file to put the sections into; not with -short")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each measurement")
	flag.Parse()
	exit(run(os.Stdout, o))
}

// otherRoles does not return in a process that was started by another one of
// this program.
func otherRoles() {
	if len(os.Args) != 3 {
		return
	}
	switch os.Args[1] {
	case "init":
		exit(initMain(parseJob(os.Args[2])))
	case "work":
		exit(workMain(parseJob(os.Args[2])))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "reaper:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type options struct {
	short  bool
	only   string
	file   string
	rounds int
}

func (b *bench) measurements() report.Measurements {
	return report.Measurements{
		{Name: "statuses", Run: b.statuses},
		{Name: "lifetime", Run: b.lifetime},
		{Name: "burst", Run: b.burst},
		{Name: "throughput", Run: b.throughput},
		{Name: "load", Run: b.load},
		{Name: "idle", Run: b.idle},
	}
}

func run(w io.Writer, o options) error {
	// A container's PID 1 starts with descriptors 0, 1 and 2.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("descriptors that this program inherited: %w", err)
	}
	b := &bench{options: o}
	if o.short {
		b.rounds, b.file = 1, ""
	}
	return b.measurements().Run(w, "reaper", b.only, b.file)
}

// bench runs the subjects of a measurement.
type bench struct {
	options
}

// count is full, or small in a short run.
func (b *bench) count(full, short int) int {
	if b.short {
		return short
	}
	return full
}

// collect runs j for each subject in turn, several times, and collects the
// figures. Each round begins with another subject. Subjects that are not
// installed are left out.
func (b *bench) collect(names []string, j job) (report.Results, error) {
	names = slices.DeleteFunc(slices.Clone(names), missing)
	r := report.Results{}
	for round := range b.rounds {
		for i := range names {
			j.Subject = names[(round+i)%len(names)]
			figures, err := runJob(j)
			if err != nil {
				return nil, fmt.Errorf("round %d, %s: %w", round+1, j.Subject, err)
			}
			r.Add(j.Subject, figures)
		}
	}
	return r, nil
}

func missing(name string) bool {
	s := subjects[name]
	if s.above == nil {
		return false
	}
	_, err := exec.LookPath(s.above[0])
	if err != nil {
		fmt.Fprintf(os.Stderr, "reaper: %s is left out: %v\n", name, err)
	}
	return err != nil
}
