// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"net/http"
	"time"
)

// headerWait is how long the rest of a request's header, of which bytes were read,
// may take to come, and the rest of a TLS handshake.
const headerWait = time.Second

// Expect makes Shutdown serve idle connections on for longer, up to d, while
// their next request is due: those that have carried two requests or more and
// whose usual time between two ends within d. The default is not to.
func (h *server) Expect(d time.Duration) { h.expect.Store(int64(d)) }

// patience is how long endIdle leaves connections to their clients. Times are
// since connections.epoch. The clients may be starved of processor time as we may
// be, so what they get is counted in our ticks, where that matters.
type patience struct {
	expect  time.Duration // until when requests that are due are waited for
	limit   time.Duration // when all ends
	now     time.Duration // by the clock
	elapsed time.Duration // since the start, by ticks
}

func (h *server) newPatience(ctx context.Context) *patience {
	now := h.conns.now()
	return &patience{now: now, expect: now + time.Duration(h.expect.Load()), limit: now + share(ctx, time.Hour, 2)}
}

// endIdle ends the HTTP/1 connections that carry no request, such as browser
// preconnects and TCP health checks, when their patience is over. When it returns
// true, all others have a handler that runs; else the limit was reached. Until then it
// waits for those whose handler has returned, too, while net/http reads the rest of a
// body or writes: the next request may be in its buffer. Clients of HTTP/2 and of
// hijacked connections have nothing to do with that, and are told meanwhile.
func (h *server) endIdle(ctx context.Context, p *patience) (inTime bool) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for h.conns.endIdle(p) && p.now < p.limit {
		select {
		case <-ticks.C:
			p.elapsed += tick
			p.now = h.conns.now()
			if p.elapsed == headerWait+tick { // what has begun was late
				within(ctx, 3*drainWindow, h.callOnShutdown)
			}
		case <-ctx.Done():
			return false
		}
	}
	return p.now < p.limit
}

// endIdle reports whether there are HTTP/1 connections that have no handler.
func (s *connections) endIdle(p *patience) (left bool) {
	s.each(func(c *connection) {
		c.looks++
		if c.waited++; !c.begun {
			c.waited = 0
		}
		switch {
		case !c.betweenLocked():
			return
		case !c.awaitsLocked(): // between net/http's parser and the handler, or after the handler
		case c.inner == nil:
			c.endForeignLocked(p)
		case p.now >= p.limit:
			c.endLocked(true)
		case !c.reading: // about to
		case c.begun && !p.late(c):
		case c.begun && (!c.isNewTLS() || c.records.partial()):
			c.endLocked(true)
		case c.begun: // a handshake, or what has come after it, as of a preconnect
			c.begun = false
			c.endLocked(false)
		case !p.due(c):
			c.endLocked(false)
		}
		left = true
	})
	return left
}

// betweenLocked reports whether c is an HTTP/1 connection that has no handler.
func (c *connection) betweenLocked() bool {
	return !c.http2 && c.state != http.StateClosed && c.state != http.StateHijacked && len(c.running) == 0
}

// between reports whether there are such connections.
func (s *connections) between() bool {
	yes := false
	s.each(func(c *connection) { yes = yes || c.betweenLocked() })
	return yes
}

// endForeignLocked ends a connection that is not ours, by a read deadline, which
// no response meets. It must be called again: net/http sets one of its own after
// each response. Whether net/http has read a part of the next request only the
// kernel knows.
func (c *connection) endForeignLocked(p *patience) {
	read, ago := taken(c.outer)
	c.begun = read > c.taken
	if c.isNewTLS() {
		c.lastUsed = max(c.lastUsed, p.now-ago)
	}
	switch {
	case unread(c.outer) || !c.ending && p.due(c) || c.begun && !p.late(c):
	case c.ending && time.Duration(c.looks)*tick > headerWait: // its Close waits for the client
		closeInside(c.outer)
	default:
		if !c.ending {
			c.ending, c.looks = true, 0
		}
		_ = c.outer.SetReadDeadline(time.Unix(1, 0))
	}
}

// due reports whether the next request of an idle connection is likely to come in
// time.
func (p *patience) due(c *connection) bool {
	return c.interval > 0 && c.lastUsed+c.interval < p.expect && p.now < min(p.expect, c.lastUsed+2*c.interval)
}

// late reports whether the rest of what has begun was waited for long enough. A
// handshake takes several steps, each of them as long as a starved processor
// wants, and as a moment in which it runs.
func (p *patience) late(c *connection) bool {
	if c.isNewTLS() {
		return p.now-c.lastUsed > headerWait && c.looks > quietTicks
	}
	return time.Duration(c.waited)*tick > headerWait
}

// isNewTLS reports whether c has to shake hands, or has carried no request since.
func (c *connection) isNewTLS() bool { return c.isTLS && c.state == http.StateNew }

// usedAfter reports whether an HTTP/1 connection is likely to carry a request
// soon, because it was accepted or carried one after since.
func (s *connections) usedAfter(since time.Duration) bool {
	yes := false
	s.each(func(c *connection) {
		if c.lastUsed > since && c.awaitsLocked() {
			yes = true
		}
	})
	return yes
}
