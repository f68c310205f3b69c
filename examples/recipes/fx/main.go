// SPDX-License-Identifier: MIT

// Fx: fx builds the server, the App runs it. Fx's hooks start in a Before step and
// stop after the servers.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"go.uber.org/fx"
)

func newServer(lc fx.Lifecycle) *http.Server {
	lc.Append(fx.StopHook(func() { fmt.Println("fx hook") }))
	return &http.Server{Addr: os.Getenv("ADDR"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		w.Write([]byte("done\n"))
	})}
}

func main() {
	var srv *http.Server
	container := fx.New(fx.NopLogger, fx.Provide(newServer), fx.Populate(&srv))
	if err := container.Err(); err != nil {
		pid1.Exit(err)
	}
	var app pid1.App
	app.Before("fx", container.Start)
	app.Shutdown.Defer("fx", container.Stop)
	pid1.Exit(app.Run(context.Background(), srv))
}
