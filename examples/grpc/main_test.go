package main

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// serve runs the example until stop is called, and connects to it.
func serve(t *testing.T, app *pid1.App) (client *grpc.ClientConn, stop func(), done <-chan error) {
	t.Helper()
	app.Logger = slog.New(slog.DiscardHandler)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- app.Run(ctx, pid1.GRPC(l, newServer(app))) }()

	client, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, stop, result
}

// call sleeps for d on the server. It has begun when the channel is returned.
func call(t *testing.T, client *grpc.ClientConn, d time.Duration) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	stream, err := client.NewStream(t.Context(), &grpc.StreamDesc{}, "/entrypoint.example.Sleep/Sleep", grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(durationpb.New(d)); err != nil {
		t.Fatal(err)
	}
	stream.CloseSend()
	// The answer to a second call says that the first one has arrived.
	err = client.Invoke(t.Context(), "/entrypoint.example.Sleep/Sleep", durationpb.New(0), new(durationpb.Duration))
	if err != nil {
		t.Fatal(err)
	}
	go func() { done <- stream.RecvMsg(new(durationpb.Duration)) }()
	return done
}

// TestStop: the health service changes at once, a watch of it ends, and a call in
// flight gets its answer.
func TestStop(t *testing.T) {
	var app pid1.App
	app.Delay = 500 * time.Millisecond
	client, stop, done := serve(t, &app)

	watch, err := grpc_health_v1.NewHealthClient(client).Watch(t.Context(), new(grpc_health_v1.HealthCheckRequest), grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	want := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		res, err := watch.Recv()
		if err != nil || res.Status != want {
			t.Fatalf("health is %v, %v; want %v", res.GetStatus(), err, want)
		}
	}
	want(grpc_health_v1.HealthCheckResponse_SERVING)
	answered := call(t, client, time.Second)
	stop()
	want(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if err := client.Invoke(t.Context(), "/entrypoint.example.Sleep/Sleep", durationpb.New(0), new(durationpb.Duration)); err != nil {
		t.Errorf("a call in the delay: %v", err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("the watch ends with %v", err)
	}
	if err := <-answered; err != nil {
		t.Errorf("a call in flight: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestCallDoesNotEnd: it is cancelled before the deadline.
func TestCallDoesNotEnd(t *testing.T) {
	var app pid1.App
	app.Shutdown.Grace = 3 * time.Second
	client, stop, done := serve(t, &app)
	answered := call(t, client, time.Hour)
	began := time.Now()
	stop()
	err := <-done
	if took := time.Since(began); pid1.ExitCode(err) != 124 || took > app.Shutdown.Grace || !strings.Contains(err.Error(), "grpc 127.0.0.1:") {
		t.Errorf("exit code %d after %v: %v", pid1.ExitCode(err), took, err)
	}
	if err := <-answered; err == nil {
		t.Error("the call has an answer")
	}
}

// TestStopBeforeServing: a stop that wins the race with Serve is clean.
func TestStopBeforeServing(t *testing.T) {
	for range 100 {
		app := pid1.App{Logger: slog.New(slog.DiscardHandler)}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if err := app.Run(ctx, pid1.GRPC(l, newServer(&app))); err != nil {
			t.Fatal(err)
		}
	}
}
