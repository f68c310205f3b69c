// SPDX-License-Identifier: MIT

package pid1_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

// skipIfLate skips the test if the machine has stalled: so much time has passed since
// began that what the test does next comes too late for what it wants to see.
func skipIfLate(t *testing.T, began time.Time, limit time.Duration) {
	t.Helper()
	if took := time.Since(began); took > limit {
		t.Skipf("the machine has stalled: %v have passed, want %v at most", took, limit)
	}
}

// skipIfStalled skips a test that needs a few times of 100 ms to be as long as they
// are, and has failed, on a machine that stalls.
func skipIfStalled(t *testing.T, stalled time.Duration, failures ...error) {
	t.Helper()
	if stalled > 100*time.Millisecond {
		t.Skipf("the machine has stalled for %v: %v", stalled, errors.Join(failures...))
	}
}

// stalls measures how long the machine stalls, from now until the result is called. A
// time that a test measures meanwhile may be longer by what that returns: twice the
// stalls, since whatever was late after one is given some time more. On a busy machine
// it is half a second more: another process may stall where this one does not.
func stalls(t *testing.T) func() time.Duration {
	const tick = 10 * time.Millisecond
	slack := time.Duration(0)
	if nstest.Busy() {
		slack = 500 * time.Millisecond
	}
	var mu sync.Mutex
	last, late := time.Now(), time.Duration(0)
	look := func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		late += max(0, now.Sub(last)-2*tick)
		last = now
		return 2*late + slack
	}
	ticks, quit, done := time.NewTicker(tick), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ticks.C:
				look()
			case <-quit:
				return
			}
		}
	}()
	t.Cleanup(func() {
		ticks.Stop()
		close(quit)
		<-done
	})
	return look
}
