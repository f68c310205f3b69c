// SPDX-License-Identifier: MIT

// Children is a server that runs a command for every request. Each command
// leaves an orphan, as many real ones do: a shell with a "&", a browser's
// helpers, a daemon. As PID 1 the server is the one that has to collect them,
// and pid1.Run does, without a line about it below.
//
//	go run ./examples/children
//	curl localhost:8080/run       # exit status 7, and an orphan for a moment
//	curl localhost:8080/zombies   # 0
//
// It listens on :$PORT, 8080 by default. It runs itself as the command, so that
// its image needs nothing else.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

func main() {
	switch os.Getenv("CHILDREN_ROLE") {
	case "command":
		os.Exit(command())
	case "orphan":
		time.Sleep(50 * time.Millisecond)
		return
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /run", run)
	mux.HandleFunc("GET /zombies", zombies)
	srv := &http.Server{Addr: ":" + cmp.Or(os.Getenv("PORT"), "8080"), Handler: mux}
	os.Exit(pid1.ExitCode(pid1.Run(context.Background(), srv)))
}

// run runs the command and answers with its exit status.
func run(w http.ResponseWriter, r *http.Request) {
	err := self(r.Context(), "command").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		http.Error(w, fmt.Sprintf("run: %v", err), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, exit.ExitCode())
}

// zombies answers with the number of dead processes that nobody has collected,
// and with their parents.
func zombies(w http.ResponseWriter, r *http.Request) {
	total := 0
	found := pid1.Inspect().Zombies
	for _, z := range found {
		total += z.Count
	}
	fmt.Fprintln(w, total)
	for _, z := range found {
		fmt.Fprintln(w, z)
	}
}

// command starts a process that outlives it, and ends with status 7.
func command() int {
	if err := self(context.Background(), "orphan").Start(); err != nil {
		return 1
	}
	return 7
}

// self is this program in another role.
func self(ctx context.Context, role string) *exec.Cmd {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = append(os.Environ(), "CHILDREN_ROLE="+role)
	return cmd
}
