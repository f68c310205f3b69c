package drain

import (
	"cmp"
	"context"
	"log"
	"net"
	"net/http"
	"time"
)

// addHooks puts our hooks in front of the user's.
func (h *HTTP) addHooks(parent context.Context) {
	h.handler = h.srv.Handler
	if h.handler == nil {
		h.handler = http.DefaultServeMux
	}
	h.srv.Handler = http.HandlerFunc(h.serveHTTP)
	h.srv.ConnState = h.connState(h.srv.ConnState)
	h.srv.ConnContext = h.connContext(h.srv.ConnContext)
	h.srv.ErrorLog = log.New(&errorLog{cmp.Or(h.srv.ErrorLog, log.Default()), h.stopping.Load}, "", 0)

	// net/http cancels requests' contexts in Close only, and without a cause.
	var serving context.Context
	serving, h.cancel = context.WithCancelCause(parent)
	h.srv.BaseContext = h.baseContext(serving, h.srv.BaseContext)
}

// connState calls the user's hook first: once a connection counts as closed,
// and Shutdown returns, the user's hook has seen it closed.
func (h *HTTP) connState(users func(net.Conn, http.ConnState)) func(net.Conn, http.ConnState) {
	return func(c net.Conn, state http.ConnState) {
		if users != nil {
			users(accepted(c), state)
		}
		h.conns.track(c, state)
	}
}

// connContext adds the connection to the context last: the user's hook may
// return one that does not descend from the one given.
func (h *HTTP) connContext(users func(context.Context, net.Conn) context.Context) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, c net.Conn) context.Context {
		if users != nil {
			ctx = users(ctx, accepted(c))
		}
		return h.conns.add(ctx, c)
	}
}

// baseContext returns serving or, if the user has a BaseContext, a context of
// that which ends when serving does. The user's hook gets its own listener.
func (h *HTTP) baseContext(serving context.Context, users func(net.Listener) context.Context) func(net.Listener) context.Context {
	if users == nil {
		return func(net.Listener) context.Context { return serving }
	}
	return func(l net.Listener) context.Context {
		if l == h.outer {
			l = h.bound
		}
		ctx, cancel := context.WithCancelCause(users(l))
		context.AfterFunc(serving, func() { cancel(context.Cause(serving)) })
		return ctx
	}
}

// serveHTTP runs in front of the user's handler. It passes the ResponseWriter on
// as it is: a wrapper would hide its other methods.
func (h *HTTP) serveHTTP(w http.ResponseWriter, r *http.Request) {
	conn, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok { // not from this server: somebody else calls its Handler
		h.handler.ServeHTTP(w, r)
		return
	}
	req := conn.begin(r)
	defer conn.end(req)
	if h.announcing.Load() {
		h.announceClose(conn, w, r)
	}
	h.handler.ServeHTTP(w, r)
}

// announceClose asks the client to open its next connection elsewhere. HTTP/1
// clients see Connection: close; to HTTP/2 clients net/http sends GOAWAY.
//
// GOAWAY names the last request that will be answered. Whatever is on its way
// then must be sent again, which a client cannot do with a POST whose body is
// gone. But a client that gets no responses soon sends no more requests: so we
// hold them back for a moment, and then send GOAWAY with the first.
func (h *HTTP) announceClose(conn *connection, w http.ResponseWriter, r *http.Request) {
	if h.onRequest != nil {
		h.onRequest(r)
	}
	if r.ProtoMajor == 2 {
		time.Sleep(conn.holdBack())
	}
	if r.Header.Get("Upgrade") == "" { // else the Connection header is the handler's
		w.Header().Set("Connection", "close")
	}
}
