// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"errors"
	"fmt"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// The last line of an entrypoint: run the CMD in our place, as exec "$@" does.
// Nothing after it runs unless the program cannot.
func ExampleExec() {
	cmd := []string{"/opt/none/server", "--port", "8080"} // os.Args[1:] in an image

	err := pid1.Exec(cmd...)
	fmt.Println(err)

	var e *pid1.ExecError
	if errors.As(err, &e) {
		fmt.Println("exit status", e.ExitCode()) // in main: os.Exit(pid1.ExitCode(err))
	}

	// Output:
	// pid1: cannot run "/opt/none/server": no such file or directory
	// exit status 127
}
