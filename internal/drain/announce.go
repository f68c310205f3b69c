// SPDX-License-Identifier: MIT

package drain

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
)

// writerFor returns w, or what a handler gets in its place: one whose final
// response asks the client to open its next connection elsewhere. HTTP/1 clients
// see Connection: close; to HTTP/2 clients net/http sends GOAWAY.
func (h *server) writerFor(conn *connection, w http.ResponseWriter, r *http.Request, announcing bool) (http.ResponseWriter, *lastWriter) {
	if known, ok := w.(commonWriter); ok {
		last := lastWriter{w: known, announced: !announcing}
		switch known := known.(type) {
		case http1Writer:
			w := &http1Last{last, known, h, conn, r}
			return w, &w.lastWriter
		case http2Writer:
			w := &http2Last{last, known}
			return w, &w.lastWriter
		}
	}
	if announcing && r.Header.Get("Upgrade") == "" { // else the Connection header is the handler's
		w.Header().Set("Connection", "close")
	}
	return w, nil
}

// What net/http's ResponseWriters can do, and golang.org/x/net/http2's. What only
// http.ResponseController asks for, it finds by Unwrap.
type (
	commonWriter interface {
		http.ResponseWriter
		http.Flusher
		//lint:ignore SA1019 handlers of old ask for it
		http.CloseNotifier
		io.StringWriter
		FlushError() error
	}
	http1Writer interface {
		http.Hijacker
		io.ReaderFrom
	}
	http2Writer interface {
		http.Pusher
	}
)

// A lastWriter has the final response, and no other, say that its connection
// closes. A header that was set before the handler runs would be sent with
// informational responses (1xx) too, which is an error in HTTP/2; the handler may
// replace it; and in a response that switches protocols it has no place.
type lastWriter struct {
	w         commonWriter
	announced bool
}

type (
	http1Last struct {
		lastWriter
		http1 http1Writer
		h     *server
		conn  *connection
		r     *http.Request
	}
	http2Last struct {
		lastWriter
		http2 http2Writer
	}
)

// announce is called before anything of the final response is written. Later it
// has no effect.
func (w *lastWriter) announce() {
	if w.announced {
		return
	}
	w.announced = true
	header := w.w.Header()
	if strings.EqualFold(header.Get("Connection"), "upgrade") { // 426, for one
		header["Connection"] = append([]string{"close"}, header["Connection"]...)
		return
	}
	header.Set("Connection", "close")
}

func (w *lastWriter) Header() http.Header         { return w.w.Header() }
func (w *lastWriter) CloseNotify() <-chan bool    { return w.w.CloseNotify() }
func (w *lastWriter) Unwrap() http.ResponseWriter { return w.w }

func (w *lastWriter) WriteHeader(code int) {
	if code < 100 || code > 199 { // 101 is final, and the handler's
		w.announce()
	}
	w.w.WriteHeader(code)
}

func (w *lastWriter) Write(p []byte) (int, error) {
	w.announce()
	return w.w.Write(p)
}

func (w *lastWriter) WriteString(s string) (int, error) {
	w.announce()
	return w.w.WriteString(s)
}

func (w *lastWriter) Flush() { _ = w.FlushError() }

func (w *lastWriter) FlushError() error {
	w.announce()
	return w.w.FlushError()
}

func (w *http1Last) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := w.http1.Hijack()
	if err == nil && mayBecomeH2C(w.r) {
		w.h.h2c.Do(func() { w.h.warn(h2cWarning) })
		conn, rw = w.conn.hijackH2C(conn, rw, w.r, &w.h.announcing)
	}
	return conn, rw, err
}

func (w *http1Last) ReadFrom(r io.Reader) (int64, error) {
	w.announce()
	return w.http1.ReadFrom(r)
}

func (w *http2Last) Push(target string, opts *http.PushOptions) error {
	return w.http2.Push(target, opts)
}
