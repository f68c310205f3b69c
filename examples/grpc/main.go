// SPDX-License-Identifier: MIT

// Grpc is a gRPC server that can be PID 1 of a container.
//
//	go run .            # in this folder; Ctrl-C stops it
//
// When a stop begins, its health service says NOT_SERVING, so that clients and
// load balancers go elsewhere while the delay lasts. Then calls in flight end;
// those that do not are cancelled shortly before the deadline.
package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

func main() {
	l, err := net.Listen("tcp", ":50051")
	if err != nil {
		slog.Error("not started", "error", err)
		os.Exit(1)
	}
	var app pid1.App
	os.Exit(pid1.ExitCode(app.Run(context.Background(), pid1.GRPC(l, newServer(&app)))))
}

// newServer returns a server with the services health and sleep.
func newServer(app *pid1.App) *grpc.Server {
	status := health.NewServer()
	go func() {
		<-app.Stopping()
		status.Shutdown() // NOT_SERVING from now on
	}()

	server := grpc.NewServer(grpc.StreamInterceptor(endWatches(app)))
	grpc_health_v1.RegisterHealthServer(server, status)
	server.RegisterService(&sleepService, nil)
	return server
}

// endWatches ends the streams of the health service's Watch. A client keeps one
// open for as long as it is connected, and GracefulStop would wait for it until
// the deadline.
func endWatches(app *pid1.App) grpc.StreamServerInterceptor {
	return func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if info.FullMethod != grpc_health_v1.Health_Watch_FullMethodName {
			return handler(service, stream)
		}
		ctx, cancel := app.UntilStopping(stream.Context(), 100*time.Millisecond) // for NOT_SERVING to be sent
		defer cancel()
		return handler(service, &watch{stream, ctx})
	}
}

// A watch is a stream with a context of its own.
type watch struct {
	grpc.ServerStream
	ctx context.Context
}

func (w *watch) Context() context.Context { return w.ctx }

// sleepService is what protoc would generate for
//
//	service Sleep { rpc Sleep(google.protobuf.Duration) returns (google.protobuf.Duration); }
var sleepService = grpc.ServiceDesc{
	ServiceName: "entrypoint.example.Sleep",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Sleep",
		Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			d := new(durationpb.Duration)
			if err := decode(d); err != nil {
				return nil, err
			}
			return sleep(ctx, d)
		},
	}},
}

// sleep returns d after that long.
func sleep(ctx context.Context, d *durationpb.Duration) (*durationpb.Duration, error) {
	select {
	case <-time.After(d.AsDuration()):
		return d, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
