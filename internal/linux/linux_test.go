// SPDX-License-Identifier: MIT

package linux_test

import (
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"go.uber.org/goleak"
)

// helpers are the functions that the test binary runs as other processes.
var helpers = map[string]func() int{}

func TestMain(m *testing.M) {
	nstest.Main(helpers)
	goleak.VerifyTestMain(m)
}
