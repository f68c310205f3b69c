// SPDX-License-Identifier: MIT

// Kratos-handler: kratos's HTTP server is an http.Handler, so it gets the whole
// drain. What kratos.App does, registration for instance, goes to OnReady and OnStop.
package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	kratos "github.com/go-kratos/kratos/v2/transport/http"
)

func main() {
	handler := kratos.NewServer()
	handler.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		w.Write([]byte("done\n"))
	})
	pid1.Exit(pid1.Run(context.Background(), &http.Server{Addr: os.Getenv("ADDR"), Handler: handler}))
}
