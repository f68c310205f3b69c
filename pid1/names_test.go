package pid1_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// TestBoundAddress: the port that :0 has become is in the log's line.
func TestBoundAddress(t *testing.T) {
	var log bytes.Buffer
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		for !app.Ready() {
			time.Sleep(time.Millisecond)
		}
		stop()
	}()
	server := func() *http.Server { return &http.Server{Addr: "127.0.0.1:0"} }
	cert, _ := certificate()
	secure := server()
	secure.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	if err := app.Run(ctx, pid1.Named("api", server()), server(), server(), pid1.TLS(secure, "", "")); err != nil {
		t.Fatal(err)
	}
	want := `servers="api on 127\.0\.0\.1:[1-9]\d*, http 127\.0\.0\.1:[1-9]\d*, http 127\.0\.0\.1:[1-9]\d*, https 127\.0\.0\.1:[1-9]\d*"`
	if !regexp.MustCompile(want).MatchString(log.String()) {
		t.Errorf("no %s in\n%s", want, &log)
	}
}
