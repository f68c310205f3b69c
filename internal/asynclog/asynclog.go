// SPDX-License-Identifier: MIT

// Package asynclog writes log records without making anybody wait for the log.
// A slog.Handler may block, be slow or panic: its pipe is full, its reader is
// stopped, its collector is gone. A process that has to stop in time cannot wait
// for any of them.
package asynclog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// queueLen bounds the records that wait. When there are more, the oldest are
// dropped, and counted: the last ones say how it ended.
const queueLen = 1024

// A Handler is a slog.Handler that passes records to another one, in their
// order, from a goroutine that exists only while there are records. Values are
// resolved there too: a slog.LogValuer or an Error method that blocks does not
// block the caller.
type Handler struct {
	queue  *queue
	parent *Handler                        // nil for the one that New returns
	derive func(slog.Handler) slog.Handler // from the parent's target

	target slog.Handler // of a derived Handler; only the writer uses it
}

// New returns a Handler that passes records to h. If h is a Handler already, it
// is returned as it is. A nil h stands for that of slog.Default() at the time
// when a record is written.
func New(h slog.Handler) *Handler {
	if h, ok := h.(*Handler); ok {
		return h
	}
	return &Handler{queue: &queue{target: h}}
}

// Enabled is true: to ask the other handler might take any time. It is asked
// when the record is written.
func (h *Handler) Enabled(context.Context, slog.Level) bool { return true }

// Handle queues r and returns nil.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	h.queue.put(item{h, ctx, r.Clone()})
	return nil
}

// WithAttrs is that of slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.child(func(target slog.Handler) slog.Handler { return target.WithAttrs(attrs) })
}

// WithGroup is that of slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return h.child(func(target slog.Handler) slog.Handler { return target.WithGroup(name) })
}

func (h *Handler) child(derive func(slog.Handler) slog.Handler) *Handler {
	return &Handler{queue: h.queue, parent: h, derive: derive}
}

// Flush waits until all records are written, at most for d. It returns how many
// are not: those that wait, that were dropped, and that the handler panicked on.
func (h *Handler) Flush(d time.Duration) (unwritten int) { return h.queue.flush(d) }

// resolve returns the handler to write to. Only the writer calls it.
func (h *Handler) resolve() slog.Handler {
	switch {
	case h.parent == nil && h.queue.target == nil:
		return slog.Default().Handler()
	case h.parent == nil:
		return h.queue.target
	case h.queue.target == nil: // the default may change
		return h.derive(h.parent.resolve())
	case h.target == nil:
		h.target = h.derive(h.parent.resolve())
	}
	return h.target
}

type item struct {
	handler *Handler
	ctx     context.Context
	record  slog.Record
}

type queue struct {
	target slog.Handler

	mu      sync.Mutex // guards the rest
	items   []item
	writing bool          // a writer exists
	lost    int           // dropped or panicked on
	empty   chan struct{} // non-nil while somebody flushes; closed when all is written
}

func (q *queue) put(i item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= queueLen {
		q.items = append(q.items[:1], q.items[2:]...) // the writer has the first
		q.lost++
	}
	q.items = append(q.items, i)
	if !q.writing {
		q.writing = true
		go q.write()
	}
}

// write writes records until there is none. A record counts as waiting until it
// is written.
func (q *queue) write() {
	finished := false
	defer func() {
		if !finished { // by a panic or a runtime.Goexit of the handler
			_ = recover()
			q.pop(true)
			go q.write()
		}
	}()
	for i, ok := q.peek(); ok; i, ok = q.peek() {
		target := i.handler.resolve()
		if target.Enabled(i.ctx, i.record.Level) {
			_ = target.Handle(i.ctx, i.record) // as slog.Logger ignores it
		}
		q.pop(false)
	}
	finished = true
}

// peek returns the first record. If there is none, the writer has to end.
func (q *queue) peek() (i item, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) > 0 {
		return q.items[0], true
	}
	q.writing = false
	q.items = nil
	if q.empty != nil {
		close(q.empty)
		q.empty = nil
	}
	return item{}, false
}

func (q *queue) pop(lost bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items[0] = item{}
	q.items = q.items[1:]
	if lost {
		q.lost++
	}
}

func (q *queue) flush(d time.Duration) (unwritten int) {
	q.mu.Lock()
	if len(q.items) > 0 && d > 0 {
		if q.empty == nil {
			q.empty = make(chan struct{})
		}
		empty := q.empty
		q.mu.Unlock()
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-empty:
		case <-timer.C:
		}
		q.mu.Lock()
	}
	defer q.mu.Unlock()
	return len(q.items) + q.lost
}
