// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// The program of a container need not be the Go program itself. Its status is
// what main exits with.
func ExampleCommand() {
	cmd := exec.Command("sh", "-c", "echo working; exit 3")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr

	app := pid1.App{Logger: slog.New(slog.DiscardHandler)}
	err := app.Run(context.Background(), pid1.Command(cmd))
	fmt.Println("exit code", pid1.ExitCode(err))
	// Output:
	// working
	// exit code 3
}

// A server that drains on another signal than the SIGTERM that docker stop and
// Kubernetes send.
func ExampleChild_rewrite() {
	cmd := exec.Command("nginx", "-g", "daemon off;")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr

	os.Exit(pid1.ExitCode(pid1.Run(context.Background(), &pid1.Child{
		Cmd:     cmd,
		Rewrite: map[os.Signal]os.Signal{syscall.SIGTERM: syscall.SIGQUIT},
	})))
}
