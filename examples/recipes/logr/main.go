// SPDX-License-Identifier: MIT

// Logr: as the handler of log/slog, which the App uses.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

func main() {
	logger := funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) }, funcr.Options{})
	app := pid1.App{Logger: slog.New(logr.ToSlogHandler(logger))}
	pid1.Exit(app.Run(context.Background(), &http.Server{Addr: os.Getenv("ADDR"), Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(20 * time.Millisecond)
			w.Write([]byte("done\n"))
		})}))
}
