// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

var helpers = map[string]func() int{
	"http": func() int { main(); return 0 },
}

func TestMain(m *testing.M) {
	nstest.Main(helpers)
	goleak.VerifyTestMain(m)
}

func TestListenAddr(t *testing.T) {
	for port, want := range map[string]string{
		"": ":8080", "80": ":80", "65535": ":65535",
		"0": "error", "65536": "error", "-1": "error", "http": "error", ":80": "error", " 80": "error",
	} {
		got, err := listenAddr(port)
		if err != nil {
			got = "error"
			if !strings.Contains(err.Error(), "$PORT") {
				t.Errorf("PORT=%q: error %q does not name $PORT", port, err)
			}
		}
		if got != want {
			t.Errorf("PORT=%q: got %s, want %s", port, got, want)
		}
	}
}

func TestHello(t *testing.T) {
	w := httptest.NewRecorder()
	hello(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), "hello") {
		t.Errorf("got %d %q, want 200 hello", w.Code, w.Body)
	}
}

func TestSlow(t *testing.T) {
	for _, c := range []struct {
		query string
		code  int
		body  string
	}{
		{"d=1ms", http.StatusOK, "done after 1ms\n"},
		{"d=0", http.StatusOK, "done after 0s\n"},
		{"d=-1s", http.StatusBadRequest, `d is "-1s": want a duration such as 2s or 300ms` + "\n"},
		{"d=2", http.StatusBadRequest, `d is "2": want a duration such as 2s or 300ms` + "\n"},
		{"", http.StatusBadRequest, `d is "": want a duration such as 2s or 300ms` + "\n"},
	} {
		w := httptest.NewRecorder()
		slow(w, httptest.NewRequest("GET", "/slow?"+c.query, nil))
		if w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("%s: got %d %q, want %d %q", c.query, w.Code, w.Body, c.code, c.body)
		}
	}
}

func TestSlowHeedsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	slow(w, httptest.NewRequestWithContext(ctx, "GET", "/slow?d=1h", nil))
	if got, want := w.Code, http.StatusServiceUnavailable; got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}
