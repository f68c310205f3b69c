// SPDX-License-Identifier: MIT

// Cron: robfig/cron as a server: no new run begins, and those that have begun end.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/robfig/cron/v3"
)

func main() {
	c := cron.New()
	c.Schedule(cron.Every(time.Second), cron.FuncJob(func() {
		fmt.Println("job begins")
		time.Sleep(500 * time.Millisecond)
		fmt.Println("job ends")
	}))
	stop := func(ctx context.Context) error {
		select {
		case <-c.Stop().Done():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	serve := func() error { c.Run(); return nil }
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("cron", pid1.Service(serve, stop))))
}
