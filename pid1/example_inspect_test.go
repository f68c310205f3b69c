// SPDX-License-Identifier: MIT

package pid1_test

import (
	"fmt"
	"log/slog"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// A subcommand for images that have no shell: docker exec app /app inspect.
// The Output is that of a program that `ENTRYPOINT app --port 8080` started.
func ExampleInspect() {
	env := pid1.Inspect()
	env = underShell // for this example
	fmt.Print(env)

	// Output:
	// process       PID 7, child of 1
	// PID 1         sh, shell form
	// runtime       docker
	// orchestrator  none recognised
	// subreaper     no
	// ignored       no signal
	// blocked       no signal
	// zombies       none
	// pids.max      100
	// warning       PID 1 is "/bin/sh -c app --port 8080", which does not forward SIGTERM; write ENTRYPOINT ["app", "--port", "8080"] (exec form)
}

var underShell = pid1.Environment{
	PID:       7,
	Parent:    1,
	InitName:  "sh",
	InitArgs:  []string{"/bin/sh", "-c", "app --port 8080"},
	ShellForm: true,
	Runtime:   "docker",
	PidsMax:   100,
}

// In a log it is a group of attributes.
func ExampleEnvironment_LogValue() {
	slog.Info("starting", "environment", pid1.Inspect())
}
