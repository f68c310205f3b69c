// SPDX-License-Identifier: MIT

// Zap: as the handler of log/slog, which the App uses.
package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
)

func main() {
	logger := zap.Must(zap.NewProduction())
	app := pid1.App{Logger: slog.New(zapslog.NewHandler(logger.Core()))}
	app.Shutdown.DeferLast("zap", func(context.Context) error { _ = logger.Sync(); return nil }) // fails on a terminal
	pid1.Exit(app.Run(context.Background(), &http.Server{Addr: os.Getenv("ADDR"), Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(20 * time.Millisecond)
			w.Write([]byte("done\n"))
		})}))
}
