// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Shutdown calls the functions of RegisterOnShutdown each time it is called. A
// user's Shutdown beside or after ours would call them a second time, and where
// one closes a channel, that ends the process. Only who takes them away from the
// server can prevent it, and they are in a field that is not exported.

// private is the offset of such a field of http.Server, with ok false if that has no
// field of the name and of t.
func private(name string, t reflect.Type) (offset uintptr, ok bool) {
	server := reflect.TypeFor[http.Server]()
	for i := range server.NumField() { // FieldByName would link more
		if f := server.Field(i); f.Name == name && f.Type == t {
			return f.Offset, true
		}
	}
	return 0, false
}

// takeOnShutdown takes the functions that srv.Shutdown calls. stopped reports
// whether Shutdown, which may have called them, or Close was called before.
func takeOnShutdown(srv *http.Server) (functions []func(), stopped, ok bool) {
	lock, ok1 := private("mu", reflect.TypeFor[sync.Mutex]())
	flag, ok2 := private("inShutdown", reflect.TypeFor[atomic.Bool]())
	list, ok3 := private("onShutdown", reflect.TypeFor[[]func()]())
	if !ok1 || !ok2 || !ok3 {
		return nil, false, false
	}
	mu := (*sync.Mutex)(unsafe.Add(unsafe.Pointer(srv), lock))
	inShutdown := (*atomic.Bool)(unsafe.Add(unsafe.Pointer(srv), flag))
	onShutdown := (*[]func())(unsafe.Add(unsafe.Pointer(srv), list))
	mu.Lock()
	defer mu.Unlock()
	functions, *onShutdown = *onShutdown, nil
	return functions, inShutdown.Load(), true
}

// shutDownWhenIdle ends idle connections and has net/http shut down. net/http drops
// the requests that it reads from then on. So at that moment no HTTP/1 connection is
// left that has no handler running, unless the patience is over, and none reads.
func (h *server) shutDownWhenIdle(ctx, cutoff context.Context) {
	p := h.newPatience(ctx)
	h.endIdle(ctx, p)
	within(cutoff, 3*drainWindow, h.callOnShutdown) // and requests may have ended meanwhile
	for {
		inTime := h.endIdle(ctx, p)
		h.conns.hold()
		if !inTime || !h.conns.between() {
			break
		}
		h.conns.release(false)
	}
	h.shutDownServer(cutoff)
	h.conns.release(true)
}

// shutDownServer has net/http shut down, but not wait.
//
// SetKeepAlivesEnabled(false) would make the responses in flight close their
// connections a moment earlier. But it closes what net/http calls idle, also
// when a request was just read, whose handler then runs for nothing.
func (h *server) shutDownServer(cutoff context.Context) {
	// With a context that has ended, Shutdown does everything but wait.
	ended, end := context.WithCancel(context.Background())
	end()
	// It waits for Serve to return, and for a lock that a user's Close holds while it
	// closes connections.
	within(cutoff, 3*drainWindow, func() { _ = h.srv.Shutdown(ended) })
}

// callOnShutdown calls the functions of RegisterOnShutdown, unless the user has by
// calling Shutdown. Later calls of that do not call them.
func (h *server) callOnShutdown() {
	functions, stopped, ok := takeOnShutdown(h.srv)
	if !ok || stopped && h.wasShutDown() {
		return // if not ok, Shutdown calls them
	}
	for _, f := range functions {
		if h.hooks.Go != nil {
			h.hooks.Go(f)
		} else {
			go f()
		}
	}
}

// wasShutDown reports whether Shutdown was called, and not Close: it calls a
// function of ours, in a goroutine that had to begin by now.
func (h *server) wasShutDown() bool { return waitTicks(context.Background(), drainWindow, h.shutDown) }
