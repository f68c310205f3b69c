// SPDX-License-Identifier: MIT

// Opentelemetry: spans are flushed last, after all that may make some.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func main() {
	exporter := tracetest.NewInMemoryExporter() // yours: otlptracegrpc, for instance
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter))
	tracer := provider.Tracer("app")

	var app pid1.App
	app.Shutdown.DeferLast("telemetry", func(ctx context.Context) error {
		if err := provider.ForceFlush(ctx); err != nil {
			return err
		}
		fmt.Println("spans flushed:", len(exporter.GetSpans()) > 0)
		return provider.Shutdown(ctx)
	})
	app.Shutdown.Defer("cache", func(ctx context.Context) error {
		_, span := tracer.Start(ctx, "close")
		defer span.End()
		fmt.Println("cache closed")
		return nil
	})
	srv := &http.Server{Addr: os.Getenv("ADDR"), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, span := tracer.Start(r.Context(), "request")
		defer span.End()
		time.Sleep(20 * time.Millisecond)
		w.Write([]byte("done\n"))
	})}
	pid1.Exit(app.Run(context.Background(), srv))
}
