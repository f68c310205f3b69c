package reaper_test

import (
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

// helpers run as processes of their own, see nstest. roles are the programs
// that the helpers start; they are told by argv[0], and need neither a shell
// nor a file system, so that they are there on a bare kernel too.
var (
	helpers = map[string]func() int{}
	roles   = map[string]func() int{}
)

// The main goroutine stays on the first thread: children that a helper starts
// there look like orphans to the kernel.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if role, ok := roles[os.Args[0]]; ok {
		os.Exit(role())
	}
	nstest.Main(helpers)
	goleak.VerifyTestMain(m)
}
