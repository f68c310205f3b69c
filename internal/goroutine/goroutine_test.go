// SPDX-License-Identifier: MIT

package goroutine_test

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/entrypoint-go/entrypoint/internal/goroutine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCurrent(t *testing.T) {
	buf := make([]byte, 1<<10)
	trace := string(buf[:runtime.Stack(buf, false)])
	if prefix := "goroutine " + goroutine.Current() + " ["; !strings.HasPrefix(trace, prefix) {
		t.Errorf("got %q, want a traceback that begins with %q", trace, prefix)
	}
}

func TestWaitFor(t *testing.T) {
	goroutine.WaitFor(t.Context(), "", "1") // nobody asks
	var outer, inner goroutine.Wait
	ctx := goroutine.WithWait(context.Background(), &outer)
	goroutine.WaitFor(goroutine.WithWait(ctx, &inner), "GET /", "7", "8")
	if what, numbers := outer.On(); what != "" || numbers != nil {
		t.Errorf("the outer one waits for %q, %q", what, numbers)
	}
	if what, numbers := inner.On(); what != "GET /" || !slices.Equal(numbers, []string{"7", "8"}) {
		t.Errorf("the inner one waits for %q, %q", what, numbers)
	}
}
