// SPDX-License-Identifier: MIT

package reaper

import (
	"log/slog"
	"runtime"
	"slices"
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
