// SPDX-License-Identifier: MIT

// Command rollout counts the requests that fail during rolling updates, under
// constant load: with this library and with net/http alone.
//
//	go run ./rollout -engine swarm               # writes RESULTS.md
//	go run ./rollout -engine swarm -short        # one update, to standard output
//	go run ./rollout -build IMAGE                # for a cluster: make the image, push or load it there,
//	go run ./rollout -engine kubernetes -image IMAGE
//
// Swarm is the one of the local Docker engine; without one, it is made for the
// time of the run. HAProxy, whose program is taken from this machine, finds the
// tasks by Docker's DNS. Kubernetes is whatever cluster kubectl's context names;
// the load runs inside it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
	"github.com/entrypoint-go/entrypoint/bench/internal/tool"
)

func main() {
	role()
	var o options
	flag.StringVar(&o.engine, "engine", "swarm", "who updates: swarm or kubernetes")
	flag.IntVar(&o.updates, "updates", 10, "rolling updates of each server")
	flag.IntVar(&o.replicas, "replicas", 3, "replicas of each server; they are updated one by one")
	flag.BoolVar(&o.short, "short", false, "one update of two replicas: a smoke test, no measurement")
	flag.StringVar(&o.file, "o", "RESULTS.md", "file to put the section into; not with -short")
	flag.StringVar(&o.raw, "raw", "", "file with the figures of earlier runs, which this one adds to: for a run in pieces")
	flag.StringVar(&o.image, "image", "", "Kubernetes: the image's name in the cluster")
	build := flag.String("build", "", "make the image of this name, for -image, and do nothing else")
	flag.Parse()
	if *build != "" {
		exit(tool.BuildImage(*build, self))
	}

	// An interrupt ends the run, but what it has made is removed first.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, os.Stdout, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "rollout:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type options struct {
	engine            string
	updates, replicas int
	short             bool
	file, raw         string
	image             string
}

// An engine deploys all subjects, updates them the given number of times under
// load, removes them, and returns what the load saw of each.
type engine interface {
	measure(ctx context.Context, o options) (map[string]outcome, error)
	section(o options, found map[string]outcome) *report.Section
}

// An outcome is one subject's, of all its updates.
type outcome struct {
	Loads   map[string]tally // by route
	Seconds []float64        // that each update took
}

func run(ctx context.Context, w io.Writer, o options) error {
	if o.short {
		o.updates, o.replicas, o.file = 1, 2, ""
	}
	if o.updates < 1 || o.replicas < 2 {
		return fmt.Errorf("-updates %d -replicas %d: want at least one update of two replicas", o.updates, o.replicas)
	}
	e, err := engineNamed(o)
	if err != nil {
		return err
	}
	found, err := e.measure(ctx, o)
	if err != nil {
		return fmt.Errorf("%s: %w", o.engine, err)
	}
	if o.raw != "" {
		if err := addTo(o.raw, found); err != nil {
			return err
		}
	}
	section := e.section(o, found)
	section.Command = "go run ./rollout -engine " + o.engine
	if o.raw != "" {
		section.Notes = append(section.Notes, "Measured in pieces (-raw); what follows is of the last one.")
	}
	fmt.Fprintln(w, section)
	if o.file == "" {
		return nil
	}
	return section.Save(o.file)
}

// addTo adds to what was found what the file has, and writes both into it.
func addTo(file string, found map[string]outcome) error {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		var earlier map[string]outcome
		if err := json.Unmarshal(text, &earlier); err != nil {
			return fmt.Errorf("-raw %s: %w", file, err)
		}
		for subject, o := range found {
			for route, load := range o.Loads {
				load.merge(earlier[subject].Loads[route])
				o.Loads[route] = load
			}
			o.Seconds = append(earlier[subject].Seconds, o.Seconds...)
			found[subject] = o
		}
	}
	if text, err = json.Marshal(found); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

func engineNamed(o options) (engine, error) {
	switch o.engine {
	case "swarm":
		return newSwarm(), nil
	case "kubernetes":
		if o.image == "" {
			return nil, errors.New("-engine kubernetes needs -image: the name under which the cluster finds what -build has made")
		}
		return newCluster(o), nil
	}
	return nil, fmt.Errorf("-engine %q: want swarm or kubernetes", o.engine)
}
