// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
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

// TestHandshakes: connections whose clients have sent nothing, or do not go on
// with a handshake, carry no call and do not hold the stop. A call does.
func TestHandshakes(t *testing.T) {
	cert := newCertificate(t)
	hello := clientHello(t)
	preface := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") // and no SETTINGS
	for _, test := range []struct {
		name  string
		creds credentials.TransportCredentials
		sent  []byte
	}{
		{"silent", insecure.NewCredentials(), nil},
		{"half of a preface", insecure.NewCredentials(), preface[:10]},
		{"preface", insecure.NewCredentials(), preface},
		{"silent, TLS", credentials.NewServerTLSFromCert(cert), nil},
		{"half of a ClientHello", credentials.NewServerTLSFromCert(cert), hello[:10]},
		{"ClientHello", credentials.NewServerTLSFromCert(cert), hello},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			app := pid1.App{Logger: slog.New(slog.DiscardHandler)}
			app.Shutdown.Grace = time.Minute
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := grpc.NewServer(grpc.Creds(test.creds))
			server.RegisterService(&sleepService, nil)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			accepted := make(chan struct{}, 2)
			go func() { done <- app.Run(ctx, pid1.GRPC(&tellsListener{l, accepted}, server)) }()

			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			<-accepted
			if _, err := conn.Write(test.sent); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			stop()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("the stop took %v", took)
			}
		})
	}
}

// TestCallWithSilentConnections: what ends silent connections leaves a call alone.
func TestCallWithSilentConnections(t *testing.T) {
	var app pid1.App
	client, stop, done := serve(t, &app)
	answered := call(t, client, 2*time.Second)
	conn, err := net.Dial("tcp", client.Target())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stop()
	if err := <-answered; err != nil {
		t.Errorf("a call in flight: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// A tellsListener says when it has accepted.
type tellsListener struct {
	net.Listener
	accepted chan<- struct{}
}

func (l *tellsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- struct{}{}
	}
	return conn, err
}

func newCertificate(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// clientHello is what a TLS client sends first.
func clientHello(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	go tls.Client(here, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}).Handshake()
	defer here.Close()
	buf := make([]byte, 16<<10)
	n, err := there.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}
