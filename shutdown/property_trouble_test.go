// SPDX-License-Identifier: MIT

package shutdown_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// trouble is what happens to a random pipeline from outside.
type trouble struct {
	log     string        // "", "blocks", "panics" or "slow"
	stalls  time.Duration // of the clock, before a step
	stalled time.Duration // so far
	crowd   int           // goroutines of others
}

func (w *world) randomTrouble() {
	w.log = []string{"", "", "", "", "blocks", "panics", "slow"}[w.rand.IntN(7)]
	if w.one(4) {
		w.stalls = w.moment() / 2
	}
	if w.one(500) {
		w.crowd = 20_000
	}
	w.p.Logger = slog.New(brokenLog{slog.DiscardHandler, func() {
		switch w.log {
		case "blocks":
			<-w.release
		case "panics":
			panic("broken log")
		case "slow":
			time.Sleep(w.p.Grace / 50)
		}
	}})
}

// brokenLog calls f for each record.
type brokenLog struct {
	slog.Handler
	f func()
}

func (l brokenLog) Enabled(context.Context, slog.Level) bool           { return true }
func (l brokenLog) Handle(_ context.Context, record slog.Record) error { l.f(); return nil }

// stallingContext is the context of Run. The process is frozen for a while before
// some steps, and that seems to be in its Err.
type stallingContext struct {
	context.Context
	stall func()
}

func (c stallingContext) Err() error { c.stall(); return c.Context.Err() }

// stall freezes Run once in three times.
func (w *world) stall(times *int) {
	if *times++; w.stalls > 0 && *times%3 == 0 {
		time.Sleep(w.stalls)
		w.stalled += w.stalls
	}
}

// startCrowd starts goroutines that have nothing to do with the pipeline.
func (w *world) startCrowd() (end func()) {
	release := make(chan struct{})
	var all sync.WaitGroup
	for range w.crowd {
		all.Go(func() { <-release })
	}
	return func() {
		close(release)
		all.Wait()
	}
}

// strangeError has methods that do what they like.
type strangeError struct{ text, unwrap func() string }

func (e *strangeError) Error() string { return e.text() }

func (e *strangeError) Unwrap() error { return errors.New(e.unwrap()) }

func (w *world) strangeError(kind string) error {
	fine := func() string { return "strange" }
	block := func() string { <-w.release; return "blocked" }
	broken := func() string { panic("broken error") }
	switch kind {
	case "Error blocks":
		return &strangeError{block, fine}
	case "Unwrap blocks":
		return &strangeError{fine, block}
	case "Error panics":
		return &strangeError{broken, fine}
	default:
		return &strangeError{fine, broken}
	}
}
