// SPDX-License-Identifier: MIT

package reaper_test

import (
	"flag"
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

// Most tests wait for other processes, so many more of them run at a time than
// there are processors, but few where others use those already; -parallel says
// otherwise.
func TestMain(m *testing.M) {
	if role, ok := roles[os.Args[0]]; ok {
		os.Exit(role())
	}
	nstest.Main(helpers)
	flag.Set("test.parallel", nstest.Parallel(16))
	goleak.VerifyTestMain(m)
}
