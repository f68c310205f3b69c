// SPDX-License-Identifier: MIT

// Fasthttp: requests in flight end; a request that arrives on an idle connection
// at the moment of the stop may be lost.
package main

import (
	"context"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/valyala/fasthttp"
)

func main() {
	srv := &fasthttp.Server{
		CloseOnShutdown: true,
		Handler: func(ctx *fasthttp.RequestCtx) {
			time.Sleep(20 * time.Millisecond)
			ctx.WriteString("done\n")
		},
	}
	serve := func() error { return srv.ListenAndServe(os.Getenv("ADDR")) }
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("fasthttp", pid1.Service(serve, srv.ShutdownWithContext))))
}
