// SPDX-License-Identifier: MIT

// Grpc-gateway: the gateway takes requests in front of a gRPC server of the same
// process, so it stops first.
package main

import (
	"context"
	"net"
	"net/http"
	"os"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	l, err := net.Listen("tcp", os.Getenv("GRPC_ADDR"))
	if err != nil {
		pid1.Exit(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())

	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		pid1.Exit(err)
	}
	gateway := runtime.NewServeMux(runtime.WithHealthEndpointAt(grpc_health_v1.NewHealthClient(conn), "/"))

	var app pid1.App
	app.Shutdown.Defer("gRPC client", func(context.Context) error { return conn.Close() })
	pid1.Exit(app.Run(context.Background(), pid1.InOrder(
		pid1.GRPC(l, server),
		&http.Server{Addr: os.Getenv("ADDR"), Handler: gateway},
	)))
}
