// SPDX-License-Identifier: MIT

package drain

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxListed bounds the requests that an error names.
const maxListed = 10

// A request is a copy of what describes a running request: its handler may
// change the original at any time.
type request struct {
	method, host, path string
	began              time.Duration // since connections.epoch
	index              int           // in connection.running
}

// InFlight returns how many handlers run. The HTTPs of a server that has several
// say so once: the others return 0.
func (h *HTTP) InFlight() (n int) {
	if bound := h.bound(); len(bound) == 0 || bound[0] != h {
		return 0
	}
	h.conns.each(func(c *connection) { n += len(c.running) })
	return n
}

// list describes the running requests, the oldest first, by method, pattern and
// age. The path stands in for the pattern if h is not an *http.ServeMux. The
// query is left out: it may hold secrets.
func (s *connections) list(h http.Handler) []string {
	var running []request
	s.each(func(c *connection) {
		if c.h2c != nil { // its handler runs for as long as the connection lasts
			if c.busy {
				running = append(running, request{method: "HTTP/2 requests behind", path: "h2c.NewHandler", began: c.lastUsed})
			}
			return
		}
		for _, req := range c.running {
			running = append(running, *req)
		}
	})

	// No lock is held here: we do not know how long patterns take to match. So
	// few are listed that searching for each is cheaper than sorting all.
	var list []string
	for ; len(running) > 0; running = running[1:] {
		if len(list) == maxListed {
			return append(list, fmt.Sprintf("and %d more", len(running)))
		}
		oldest := &running[0]
		for i := range running {
			if running[i].began < oldest.began {
				oldest = &running[i]
			}
		}
		running[0], *oldest = *oldest, running[0]
		req := running[0]
		list = append(list, fmt.Sprintf("%s (%s)", req.describe(h), (s.now()-req.began).Round(time.Millisecond)))
	}
	return list
}

func (req *request) describe(h http.Handler) string {
	what := req.path
	if mux, ok := h.(*http.ServeMux); ok {
		_, pattern := mux.Handler(&http.Request{Method: req.method, Host: req.host, URL: &url.URL{Path: req.path}})
		if strings.Contains(pattern, " ") {
			return pattern // has the method
		}
		if pattern != "" {
			what = pattern
		}
	}
	return req.method + " " + what
}
