// SPDX-License-Identifier: MIT

// Zerolog: as the handler of log/slog, which the App uses.
package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/rs/zerolog"
)

func main() {
	logger := zerolog.New(os.Stderr).With().Timestamp().Logger()
	app := pid1.App{Logger: slog.New(zerolog.NewSlogHandler(logger))}
	pid1.Exit(app.Run(context.Background(), &http.Server{Addr: os.Getenv("ADDR"), Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(20 * time.Millisecond)
			w.Write([]byte("done\n"))
		})}))
}
