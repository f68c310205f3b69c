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

// Most tests wait for other processes, so more of them run at a time than there
// are processors; -parallel says otherwise. Those that signal this process, set
// its environment, count its goroutines or make load are not parallel.
func TestMain(m *testing.M) {
	nstest.Main(helpers)
	flag.Set("test.parallel", "8")
	goleak.VerifyTestMain(m)
}
