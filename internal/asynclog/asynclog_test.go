// SPDX-License-Identifier: MIT

package asynclog_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/entrypoint-go/entrypoint/internal/asynclog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text returns a handler without times, and what it has written.
func text() (slog.Handler, func() string) {
	var mu sync.Mutex
	var b bytes.Buffer
	h := slog.NewTextHandler(lockedWriter{&mu, &b}, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	return h, func() string {
		mu.Lock()
		defer mu.Unlock()
		return b.String()
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// hooked calls f for each record before the handler has it.
type hooked struct {
	slog.Handler
	f func(message string)
}

func (h hooked) Handle(ctx context.Context, r slog.Record) error {
	h.f(r.Message)
	return h.Handler.Handle(ctx, r)
}

func TestOrderAndAttributes(t *testing.T) {
	target, written := text()
	h := asynclog.New(target)
	log := slog.New(h)
	log.Info("a")
	log.With("k", 1).WithGroup("g").Warn("b", "x", 2)
	log.Debug("not enabled")
	log.WithGroup("h").Info("c", "y", 3)
	if n := h.Flush(time.Minute); n != 0 {
		t.Errorf("%d unwritten", n)
	}
	want := "level=INFO msg=a\nlevel=WARN msg=b k=1 g.x=2\nlevel=INFO msg=c h.y=3\n"
	if got := written(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if asynclog.New(h) != h {
		t.Error("New wrapped a Handler once more")
	}
}

// All goroutines write their own records in their own order, and none is lost.
func TestConcurrent(t *testing.T) {
	target, written := text()
	h := asynclog.New(target)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				slog.New(h).Info("r", "g", g, "i", i)
			}
		})
	}
	wg.Wait()
	if n := h.Flush(time.Minute); n != 0 {
		t.Fatalf("%d unwritten", n)
	}
	next := map[int]int{}
	for line := range strings.Lines(written()) {
		var g, i int
		if _, err := fmt.Sscanf(line, "level=INFO msg=r g=%d i=%d", &g, &i); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if next[g] != i {
			t.Fatalf("goroutine %d: record %d came, want %d", g, i, next[g])
		}
		next[g]++
	}
	if len(next) != 8 {
		t.Errorf("records of %d goroutines, want 8", len(next))
	}
}

func TestBlockedHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		target, written := text()
		h := asynclog.New(hooked{target, func(string) { <-release }})
		log := slog.New(h)
		start := time.Now()
		for i := range 2000 {
			log.Info("r", "i", i)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("the caller waited %v", waited)
		}
		if n := h.Flush(time.Second); n != 2000 {
			t.Errorf("%d unwritten, want all 2000", n)
		}
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("Flush waited %v, want 1s", waited)
		}
		close(release)
		if n := h.Flush(time.Second); n != 2000-1024 {
			t.Errorf("%d unwritten, want those that were dropped, %d", n, 2000-1024)
		}
		if n := strings.Count(written(), "\n"); n != 1024 {
			t.Errorf("%d written, want 1024", n)
		}
		if !strings.HasSuffix(written(), "i=1998\nlevel=INFO msg=r i=1999\n") {
			t.Error("the last records were dropped, not the oldest")
		}
	})
}

// A handler that panics or ends its goroutine loses that record and no other.
func TestBrokenHandler(t *testing.T) {
	target, written := text()
	h := asynclog.New(hooked{target, func(message string) {
		switch message {
		case "panic":
			panic("broken handler")
		case "goexit":
			runtime.Goexit()
		}
	}})
	log := slog.New(h)
	for _, message := range []string{"a", "panic", "b", "goexit", "c"} {
		log.Info(message)
	}
	if n := h.Flush(time.Minute); n != 2 {
		t.Errorf("%d unwritten, want 2", n)
	}
	if got, want := written(), "level=INFO msg=a\nlevel=INFO msg=b\nlevel=INFO msg=c\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

type blockingError struct{ release <-chan struct{} }

func (e blockingError) Error() string {
	<-e.release
	return "late"
}

// A value's own methods are called by the writer.
func TestBlockingValue(t *testing.T) {
	target, written := text()
	h := asynclog.New(target)
	release := make(chan struct{})
	slog.New(h).Info("a", "error", blockingError{release})
	if n := h.Flush(time.Millisecond); n != 1 {
		t.Errorf("%d unwritten, want 1", n)
	}
	close(release)
	h.Flush(time.Minute)
	if got, want := written(), "level=INFO msg=a error=late\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// nil is slog.Default at the time of writing.
func TestDefault(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	h := asynclog.New(nil)
	target, written := text()
	slog.SetDefault(slog.New(target))
	log := slog.New(h).With("k", 1)
	slog.New(h).Info("a")
	log.Info("b")
	if h.Flush(time.Minute); written() != "level=INFO msg=a\nlevel=INFO msg=b k=1\n" {
		t.Errorf("got %q", written())
	}
	again, writtenAgain := text()
	slog.SetDefault(slog.New(again))
	log.Info("c")
	if h.Flush(time.Minute); writtenAgain() != "level=INFO msg=c k=1\n" {
		t.Errorf("after SetDefault: got %q", writtenAgain())
	}
}
