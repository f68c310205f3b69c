// SPDX-License-Identifier: MIT

// Grpcplain is grpc without the library.
package main

import (
	"log/slog"
	"net"
	"net/http"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	l, err := net.Listen("tcp", ":50051")
	if err != nil {
		slog.Error("not started", "error", err)
		os.Exit(1)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go http.ListenAndServe(":8080", nil)
	slog.Error("stopped", "error", server.Serve(l))
	os.Exit(1)
}
