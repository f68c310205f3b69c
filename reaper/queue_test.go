// SPDX-License-Identifier: MIT

package reaper

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

var silent = slog.New(slog.DiscardHandler)

func TestQueueKeepsOrder(t *testing.T) {
	var got []int
	q := newQueue(func(e Exit) { got = append(got, e.PID) }, silent)
	want := make([]int, 1000)
	for i := range want {
		want[i] = i
		q.put(Exit{PID: i})
	}
	q.close(time.Minute)
	if !slices.Equal(got, want) {
		t.Errorf("got %d exits, not the 1000 that were put, in order", len(got))
	}
}

func TestQueueSurvivesItsCallback(t *testing.T) {
	var got []int
	q := newQueue(func(e Exit) {
		got = append(got, e.PID)
		switch e.PID {
		case 1:
			panic("one")
		case 2:
			runtime.Goexit()
		}
	}, silent)
	for i := range 4 {
		q.put(Exit{PID: i})
	}
	q.close(time.Minute)
	if want := []int{0, 1, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestQueueNeverBlocks(t *testing.T) {
	block := make(chan struct{})
	q := newQueue(func(Exit) { <-block }, silent)
	dropped := 0
	for range 2 * queueLen {
		if !q.put(Exit{}) {
			dropped++
		}
	}
	// One exit may be with the callback, the others are in the queue.
	if dropped != queueLen && dropped != queueLen-1 {
		t.Errorf("%d exits dropped, want %d or one less", dropped, queueLen)
	}
	q.close(0) // does not wait either
	close(block)
	<-q.done
}

// A handler is a log that does something else.
type handler struct {
	slog.Handler
	f func()
}

func (h handler) Enabled(context.Context, slog.Level) bool { return true }

func (h handler) Handle(context.Context, slog.Record) error {
	h.f()
	return nil
}

// The log of a panic may itself block, panic or end its goroutine.
func TestQueueSurvivesItsLog(t *testing.T) {
	for name, f := range map[string]func(){
		"blocks": func() { <-t.Context().Done() },
		"panics": func() { panic("log") },
		"exits":  runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan int, 4)
			q := newQueue(func(e Exit) {
				got <- e.PID
				panic("one")
			}, slog.New(handler{f: f}))
			for i := range 4 {
				q.put(Exit{PID: i})
			}
			for want := range 4 {
				select {
				case pid := <-got:
					if pid != want {
						t.Errorf("got %d, want %d", pid, want)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("OnReap was not called for %d", want)
				}
			}
			q.close(time.Minute)
			<-q.done
		})
	}
}

// What a log does not block on is written when close returns.
func TestQueueLogsPanicsFirst(t *testing.T) {
	var logged atomic.Int32
	q := newQueue(func(Exit) { panic("one") }, slog.New(handler{f: func() { logged.Add(1) }}))
	for range 100 {
		q.put(Exit{})
	}
	q.close(time.Minute)
	if got := logged.Load(); got != 100 {
		t.Errorf("%d panics logged, want 100", got)
	}
}
