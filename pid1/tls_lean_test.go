//go:build entrypoint_lean

package pid1_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// TestLeanRefusesTLS: nothing is served without the TLS that it asks for.
func TestLeanRefusesTLS(t *testing.T) {
	srv := &http.Server{Addr: "127.0.0.1:0", TLSConfig: &tls.Config{Certificates: make([]tls.Certificate, 1)}}
	app := pid1.App{Logger: discard}
	err := app.Run(t.Context(), srv)
	if err == nil || pid1.ExitCode(err) != 1 || !strings.Contains(err.Error(), "https 127.0.0.1:0: TLSConfig has certificates") {
		t.Errorf("got %v", err)
	}
}
