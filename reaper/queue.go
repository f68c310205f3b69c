// SPDX-License-Identifier: MIT

package reaper

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// queueLen is the number of exits that can wait for a slow OnReap. At 40 bytes
// each that is little memory, and enough for a burst of orphans.
const queueLen = 4096

// A queue passes exits to OnReap on a goroutine of its own, so that nothing
// OnReap does can hold up reaping.
type queue struct {
	f    func(Exit)
	log  *slog.Logger
	c    chan Exit
	done chan struct{} // closed after the last call of f

	panics sync.WaitGroup // that are being logged
}

func newQueue(f func(Exit), log *slog.Logger) *queue {
	q := &queue{f: f, log: log, c: make(chan Exit, queueLen), done: make(chan struct{})}
	go q.deliver()
	return q
}

// put queues e and reports whether there was room for it.
func (q *queue) put(e Exit) bool {
	select {
	case q.c <- e:
		return true
	default:
		return false
	}
}

// close ends the queue after what is in it, and waits for that, but not for
// a callback that hangs.
func (q *queue) close(patience time.Duration) {
	close(q.c)
	select {
	case <-q.done:
	case <-time.After(patience):
	}
}

func (q *queue) deliver() {
	finished := false
	defer func() {
		if finished {
			q.panics.Wait()
			close(q.done)
			return
		}
		// A panic or a runtime.Goexit in f has ended this goroutine, and must
		// not end the queue. The log comes last: it may block.
		v := recover()
		q.panics.Add(1)
		defer q.panics.Done()
		go q.deliver()
		if v != nil {
			stack := string(debug.Stack())
			briefly(func() { q.log.Error("reaper: OnReap panicked", "panic", v, "stack", stack) })
		}
	}()
	for e := range q.c {
		q.f(e)
	}
	finished = true
}

// briefly calls log, and does not wait for one that blocks. One that panics must
// not end the process.
func briefly(log func()) {
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		defer func() { _ = recover() }()
		log()
	}()
	select {
	case <-logged:
	case <-time.After(100 * time.Millisecond):
	}
}
