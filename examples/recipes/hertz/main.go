// SPDX-License-Identifier: MIT

// Hertz: requests in flight end; a request that arrives on an idle connection at
// the moment of the stop may be lost. Run, not Spin, which takes the signals.
package main

import (
	"context"
	"os"
	"time"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/server"
	"github.com/entrypoint-go/entrypoint/pid1"
)

func main() {
	h := server.New(server.WithHostPorts(os.Getenv("ADDR")),
		server.WithExitWaitTime(time.Hour)) // the grace is what counts, not hertz's 5 s
	h.Any("/", func(_ context.Context, c *app.RequestContext) {
		time.Sleep(20 * time.Millisecond)
		c.WriteString("done\n")
	})
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("hertz", pid1.Service(h.Run, h.Shutdown))))
}
