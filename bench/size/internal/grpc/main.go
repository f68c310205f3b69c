// SPDX-License-Identifier: MIT

// Grpc serves gRPC, and HTTP for health checks, with the library.
package main

import (
	"context"
	"net"
	"net/http"

	"github.com/entrypoint-go/entrypoint/pid1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	l, err := net.Listen("tcp", ":50051")
	if err != nil {
		pid1.Exit(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	pid1.Exit(pid1.Run(context.Background(), pid1.GRPC(l, server), &http.Server{Addr: ":8080"}))
}
