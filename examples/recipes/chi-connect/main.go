// SPDX-License-Identifier: MIT

// Chi-connect: a connect service on a chi router. Clients of gRPC need HTTP/2
// without TLS: let net/http speak it. h2c.NewHandler hides the connections from
// the server, and with them from the drain.
package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/go-chi/chi/v5"
	"google.golang.org/protobuf/types/known/emptypb"
)

func main() {
	router := chi.NewRouter()
	router.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		w.Write([]byte("done\n"))
	})
	const procedure = "/sleep.v1.SleepService/Sleep"
	router.Mount(procedure, connect.NewUnaryHandler(procedure,
		func(context.Context, *connect.Request[emptypb.Empty]) (*connect.Response[emptypb.Empty], error) {
			time.Sleep(20 * time.Millisecond)
			return connect.NewResponse(&emptypb.Empty{}), nil
		}))

	srv := &http.Server{Addr: os.Getenv("ADDR"), Handler: router, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	pid1.Exit(pid1.Run(context.Background(), srv))
}
