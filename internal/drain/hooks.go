// SPDX-License-Identifier: MIT

package drain

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
)

// handler is that of a server which has our hooks.
type handler struct{ of *server }

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.of.serveHTTP(w, r) }

// addHooks puts our hooks in front of the user's.
func (h *server) addHooks(parent context.Context) {
	h.handler = h.srv.Handler
	if h.handler == nil {
		h.handler = http.DefaultServeMux
	}
	h.srv.Handler = handler{h}
	h.srv.ConnState = h.connState(h.srv.ConnState)
	h.srv.ConnContext = h.connContext(h.srv.ConnContext)
	h.srv.ErrorLog = log.New(&errorLog{cmp.Or(h.srv.ErrorLog, log.Default()), h.stopping.Load}, "", 0)

	// net/http cancels requests' contexts in Close only, and without a cause.
	serving, _ := h.cancellable(parent)
	h.srv.BaseContext = h.baseContext(serving, h.srv.BaseContext)

	h.srv.RegisterOnShutdown(sync.OnceFunc(func() { close(h.shutDown) }))
}

// connState calls the user's hook first: once a connection counts as closed,
// and Shutdown returns, the user's hook has seen it closed.
func (h *server) connState(users func(net.Conn, http.ConnState)) func(net.Conn, http.ConnState) {
	if users == nil {
		return h.conns.track
	}
	return func(c net.Conn, state http.ConnState) {
		h.inConnState.Add(1)
		defer func() {
			h.inConnState.Add(-1)
			h.conns.track(c, state)
			// Of other panics net/http says that it was serving, and closes the
			// connection. This one would end the process.
			if state == http.StateClosed {
				if p := recover(); p != nil {
					h.warn(fmt.Sprintf("panic in Server.ConnState: %v\n%s", p, debug.Stack()))
				}
			}
		}()
		users(accepted(c), state)
	}
}

// connContext adds the connection to the context last: the user's hook may
// return one that does not descend from the one given.
func (h *server) connContext(users func(context.Context, net.Conn) context.Context) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, c net.Conn) context.Context {
		if users != nil {
			ctx = users(ctx, accepted(c))
		}
		return h.conns.add(ctx, c)
	}
}

// baseContext returns serving or, if the user has a BaseContext, a context of
// that which ends when serving does. The user's hook gets its own listener.
func (h *server) baseContext(serving context.Context, users func(net.Listener) context.Context) func(net.Listener) context.Context {
	if users == nil {
		return func(net.Listener) context.Context { return serving }
	}
	return func(l net.Listener) context.Context {
		for _, ours := range h.bound() {
			if l == ours.outer {
				l = ours.users
				break
			}
		}
		ctx, cancel := h.cancellable(users(l))
		context.AfterFunc(serving, func() { cancel(context.Cause(serving)) })
		return ctx
	}
}

// cancellable returns a copy of ctx that cancelRequests cancels.
func (h *server) cancellable(parent context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	h.mu.Lock()
	h.cancels = append(h.cancels, cancel)
	h.mu.Unlock()
	return ctx, cancel
}

// serveHTTP runs in front of the user's handler. While nothing is announced it
// passes the ResponseWriter on as it is, but for connections that may be h2c's.
func (h *server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	conn, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok || conn.in != &h.conns { // of another server that has its Handler
		h.handler.ServeHTTP(w, r)
		return
	}
	req := conn.begin(r)
	defer conn.end(req)
	announcing := h.announcing.Load()
	if announcing {
		h.beforeLast(conn, r)
	} else if !mayBecomeH2C(r) {
		h.handler.ServeHTTP(w, r)
		return
	}
	body := r.Body
	w, last := h.writerFor(conn, w, r, announcing)
	h.handler.ServeHTTP(w, r)
	if last != nil {
		last.announce()
	}
	r.Body = body // see docs/design.md, "The last response"
}

// beforeLast is called for a request whose response says that the connection
// closes.
//
// GOAWAY names the last request that will be answered. Whatever is on its way
// then must be sent again, which a client cannot do with a POST whose body is
// gone. But a client that gets no responses soon sends no more requests: so we
// hold them back for a moment, and then send GOAWAY with the first.
func (h *server) beforeLast(conn *connection, r *http.Request) {
	if h.hooks.OnRequest != nil {
		h.hooks.OnRequest(r)
	}
	if r.ProtoMajor == 2 && !mayBecomeH2C(r) {
		conn.holdBack()
	}
}
