// SPDX-License-Identifier: MIT

// Oklog-run: a group that already exists, as one server. New code passes each
// actor to Run instead.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/oklog/run"
)

func main() {
	var group run.Group
	work := make(chan struct{})
	group.Add(func() error { <-work; return nil }, func(error) {
		fmt.Println("worker interrupted")
		close(work)
	})
	stop := make(chan struct{})
	group.Add(func() error { <-stop; return nil }, func(error) {})

	srv := &http.Server{Addr: os.Getenv("ADDR"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		w.Write([]byte("done\n"))
	})}
	actors := pid1.Service(group.Run, func(context.Context) error { close(stop); return nil })
	err := pid1.Run(context.Background(), srv, pid1.Named("group", actors))
	if errors.Is(err, pid1.ErrForced) {
		fmt.Println("forced")
	}
	pid1.Exit(err)
}
