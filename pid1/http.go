// SPDX-License-Identifier: MIT

package pid1

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/drain"
	"github.com/entrypoint-go/entrypoint/internal/goroutine"
)

// TLS makes a Server that serves srv as its ListenAndServeTLS does, on srv.Addr or
// ":https". certFile and keyFile are both empty when srv.TLSConfig has certificates.
// The files are loaded before anything listens; what cannot be loaded is an error of
// Run. [App.ReloadTLS] reads them again.
//
// With files, srv.TLSConfig becomes a copy of yours that has no Certificates: its
// GetCertificate returns that of the files. For clients that name a server it asks
// yours first.
//
// Only programs that call TLS link the server side of crypto/tls.
func TLS(srv *http.Server, certFile, keyFile string) Server {
	if srv == nil {
		return srv // for Run to refuse
	}
	files := &certificate{certFile: certFile, keyFile: keyFile}
	h := &httpServer{
		srv:     srv,
		secure:  true,
		prepare: func() error { return files.prepare(srv) },
		serve:   func(l net.Listener) error { return srv.ServeTLS(l, "", "") },
	}
	if certFile != "" || keyFile != "" {
		h.reload = files.load
	}
	return h
}

// hasCertificates asks what ListenAndServeTLS does.
func hasCertificates(c *tls.Config) bool {
	return c != nil && (len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil)
}

// An httpServer is an *http.Server in the hands of package drain.
type httpServer struct {
	srv      *http.Server
	listener net.Listener // Listen's; nil: bind listens on srv.Addr

	// What TLS sets. They are fields, since a call of ServeTLS here would link
	// 370 KiB of crypto/tls into every program.
	secure  bool
	reload  func() error // nil without files
	prepare func() error
	serve   func(net.Listener) error

	parent    context.Context
	onRequest func(*http.Request)
	warn      func(message string)       // logs it
	bound     net.Addr                   // nil before bind
	drain     atomic.Pointer[drain.HTTP] // nil before bind
	stopped   atomic.Bool                // Shutdown or kill was called
	panicked  atomic.Pointer[error]      // of a function of RegisterOnShutdown
}

func (h *httpServer) name() string {
	switch {
	case h.listener != nil && h.listener.Addr().Network() == "unix":
		return "http unix:" + h.listener.Addr().String()
	case h.listener != nil:
		return "http " + h.listener.Addr().String()
	}
	addr := h.addr()
	if h.bound != nil && portOf(addr) == 0 {
		addr = h.bound.String()
	}
	if h.secure {
		return "https " + addr
	}
	return "http " + addr
}

// addr is what net/http listens on.
func (h *httpServer) addr() string {
	if h.secure {
		return cmp.Or(h.srv.Addr, ":https")
	}
	return cmp.Or(h.srv.Addr, ":http")
}

func (h *httpServer) setContext(ctx context.Context) { h.parent = ctx }
func (h *httpServer) observe(onRequest func(*http.Request), warn func(message string)) {
	h.onRequest, h.warn = onRequest, warn
}

// check refuses certificates that would not be used, or cannot be.
func (h *httpServer) check() error {
	switch {
	case h.prepare != nil:
		return h.prepare()
	case h.listener == nil && hasCertificates(h.srv.TLSConfig):
		return errors.New(`TLSConfig has certificates, but an *http.Server alone is served without TLS: pass pid1.TLS(srv, "", "")`)
	}
	return nil
}

// bind listens, so that a port in use is an error before anything serves.
func (h *httpServer) bind(ctx context.Context) error {
	l := h.listener
	if l == nil {
		var err error
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", h.addr()); err != nil {
			return err
		}
	}
	if h.parent == nil {
		h.parent = context.Background()
	}
	h.bound = l.Addr()
	d := drain.NewHTTP(h.parent, h.srv, drain.Hooks{OnRequest: h.onRequest, Warn: h.warn, Go: h.callOnShutdown})
	d.Bind(l)
	h.drain.Store(d)
	if h.stopped.Load() { // before drain was set
		d.Kill()
		return http.ErrServerClosed
	}
	return nil
}

func (h *httpServer) boundTo() net.Addr { return h.bound }

func (h *httpServer) startDraining() { h.drain.Load().AnnounceClose() }

// ListenAndServe serves. Only those who call TLS or Listen for another library
// call it before bind.
func (h *httpServer) ListenAndServe() error {
	if h.drain.Load() == nil {
		if err := h.check(); err != nil {
			return err
		}
		if err := h.bind(context.Background()); err != nil {
			return err
		}
	}
	if h.serve != nil {
		return h.drain.Load().Serve(h.serve)
	}
	return h.drain.Load().Serve(h.srv.Serve)
}

func (h *httpServer) Shutdown(ctx context.Context) error {
	h.stopped.Store(true)
	d := h.drain.Load()
	if d == nil { // it never served, and no longer will
		h.kill()
		return h.srv.Shutdown(ctx)
	}
	cause := stopCause(ctx)
	if _, ok := cause.(*SignalError); ok && !onTerminal() {
		d.Expect(expectFor(ctx))
	}
	err := d.Shutdown(ctx, cause)
	if panicked := h.panicked.Load(); panicked != nil {
		return join(err, *panicked)
	}
	return err
}

// expectFor is how long idle connections are served on for whose next request is
// due: 2 s, or a fifth of the time that is left. Nobody waits at a terminal.
func expectFor(ctx context.Context) time.Duration {
	limit := 2 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/5)
	}
	return limit
}

// waitHandlers waits for the handlers of the requests that err names: Shutdown has
// not.
func (h *httpServer) waitHandlers(ctx context.Context, err error) {
	if d := h.drain.Load(); d != nil {
		goroutine.WaitFor(ctx, err.Error(), d.Goroutines()...)
		d.WaitHandlers()
	}
}

// callOnShutdown calls a function of RegisterOnShutdown. One that panics would end
// the process, called by net/http.
func (h *httpServer) callOnShutdown(f func()) {
	goCall("RegisterOnShutdown", func() error { f(); return nil }, func(err error) {
		if isPanic(err) {
			h.panicked.CompareAndSwap(nil, &err)
			if h.warn != nil {
				h.warn("a function of RegisterOnShutdown panicked: " + errorText(err))
			}
		}
	})
}

// kill may be called before bind.
func (h *httpServer) kill() {
	h.stopped.Store(true)
	if d := h.drain.Load(); d != nil {
		d.Kill()
	} else if h.listener != nil {
		h.listener.Close()
	}
}

// ReloadTLS reads the files of all [TLS] servers again, for handshakes from now
// on; open connections go on. Certificates are renewed by other programs; SIGHUP
// says that there are new ones:
//
//	app.OnHangup = func(context.Context) error { return app.ReloadTLS() }
//
// If a certificate cannot be loaded its server keeps the one that it has. The error
// joins a [ServerError] for each of those. Before Run, and for servers without
// files, ReloadTLS does nothing.
func (a *App) ReloadTLS() error {
	var errs []error
	for _, p := range a.servers() {
		if h, ok := p.server.(*httpServer); ok && h.reload != nil {
			if err := h.reload(); err != nil {
				errs = append(errs, p.error(err))
			}
		}
	}
	return errors.Join(errs...)
}

// A certificate is that of a TLS server's files.
type certificate struct {
	certFile, keyFile string
	loaded            atomic.Pointer[tls.Certificate]
}

func (c *certificate) load() error {
	loaded, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %q with key %q: %w", c.certFile, c.keyFile, err)
	}
	c.loaded.Store(&loaded)
	return nil
}

// prepare gives srv the certificate of the files, if there are any.
func (c *certificate) prepare(srv *http.Server) error {
	if c.certFile == "" && c.keyFile == "" {
		if hasCertificates(srv.TLSConfig) {
			return nil
		}
		return errors.New(`pid1.TLS(srv, "", "") needs srv.TLSConfig to have certificates: set them, or pass the names of files`)
	}
	if err := c.load(); err != nil {
		return err
	}
	config := new(tls.Config)
	if srv.TLSConfig != nil {
		config = srv.TLSConfig.Clone()
	}
	users := config.GetCertificate
	config.Certificates = nil // else GetCertificate is not asked by clients without a server name
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if users != nil && hello.ServerName != "" { // as crypto/tls does
			if cert, err := users(hello); cert != nil || err != nil {
				return cert, err
			}
		}
		return c.loaded.Load(), nil
	}
	srv.TLSConfig = config
	return nil
}

// An embedder has an *http.Server inside: its methods are promoted. What it sends
// and accepts is out of our reach, and its Shutdown loses requests.
type embedder interface {
	RegisterOnShutdown(f func())
	SetKeepAlivesEnabled(v bool)
}

// warnOfEmbedded says how such a server can be drained.
func (a *App) warnOfEmbedded(servers []*serverState) {
	for _, p := range servers {
		server := any(p.server)
		if w, ok := server.(wrapper); ok {
			server = w.inside()
		}
		if _, ok := server.(embedder); ok {
			a.log().Warn("its Shutdown loses requests: it embeds an *http.Server, which cannot be drained inside another type;"+
				" pass the *http.Server itself to Run, Listen or TLS", "server", p.name)
		}
	}
}
