// SPDX-License-Identifier: MIT

// Urfave-cli: as cobra.
package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/urfave/cli/v2"
)

func main() {
	app := &cli.App{
		ExitErrHandler: func(*cli.Context, error) {}, // Exit below says it
		Action: func(*cli.Context) error {
			srv := &http.Server{Addr: os.Getenv("ADDR"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(20 * time.Millisecond)
				w.Write([]byte("done\n"))
			})}
			return pid1.Run(context.Background(), srv)
		},
	}
	pid1.Exit(app.Run(os.Args))
}
