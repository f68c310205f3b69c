// SPDX-License-Identifier: MIT

package pid1_test

import (
	"flag"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"go.uber.org/goleak"
)

// helpers are the functions that the test binary runs as other processes. Each
// test file adds its own in init.
var helpers = map[string]func() int{}

// Most tests wait, so many more of them run at a time than there are processors, but
// few where others use those already; -parallel says otherwise. Those that signal this
// process, set its environment, count its goroutines, end its threads or make load
// are not parallel.
func TestMain(m *testing.M) {
	nstest.Main(helpers)
	flag.Set("test.parallel", nstest.Parallel(24))
	goleak.VerifyTestMain(m)
}

// slow skips a test that takes seconds, with -short.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds")
	}
}
