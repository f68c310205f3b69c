// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// certificateFiles writes the certificate of certificate as files, and returns
// their names and what a client needs to trust it.
func certificateFiles(t *testing.T) (certFile, keyFile string, client *tls.Config) {
	t.Helper()
	cert, client := certificate()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	return write("cert.pem", "CERTIFICATE", cert.Certificate[0]), write("key.pem", "PRIVATE KEY", key), client
}

// TestTLSFiles: the certificate of the files, by HTTP/1 and HTTP/2.
func TestTLSFiles(t *testing.T) {
	certFile, keyFile, config := certificateFiles(t)
	for _, http2 := range []bool{false, true} {
		addr := make(chan net.Addr, 1)
		srv := &http.Server{Addr: "127.0.0.1:0", BaseContext: tell(addr), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, r.Proto)
		})}
		s := run(t, new(pid1.App), pid1.TLS(srv, certFile, keyFile))
		transport := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: http2}
		got := get(t, &http.Client{Transport: transport}, "https://"+(<-addr).String())
		if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		transport.CloseIdleConnections()
		s.stopCleanly()
	}
}

// TestTLSRefused: what cannot be served by TLS, or would be served without, is an
// error before any server listens.
func TestTLSRefused(t *testing.T) {
	cert, _ := certificate()
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
	certFile, keyFile, _ := certificateFiles(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	server := func(c *tls.Config) *http.Server { return &http.Server{Addr: "127.0.0.1:0", TLSConfig: c} }
	tests := []struct {
		name   string
		server pid1.Server
		want   []string
	}{
		{"no certificate", pid1.TLS(server(nil), "", ""), []string{"https 127.0.0.1:0: ", "TLSConfig"}},
		{"missing file", pid1.TLS(server(nil), "no-such.pem", keyFile), []string{"no-such.pem", keyFile, "no such file"}},
		{"key for certificate", pid1.TLS(server(config), keyFile, certFile), []string{certFile, keyFile, "PEM"}},
		{"no key", pid1.TLS(server(config), certFile, ""), []string{certFile, `key ""`}},
		{"bare, Certificates", server(config), []string{"http 127.0.0.1:0: ", `pass pid1.TLS(srv, "", "")`}},
		{"bare, GetCertificate", server(&tls.Config{GetCertificate: get}), []string{`pass pid1.TLS(srv, "", "")`}},
		{"bare, GetConfigForClient", server(&tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return config, nil }}), []string{`pass pid1.TLS(srv, "", "")`}},
		{"nil", pid1.TLS(nil, "", ""), []string{"server 2 of 2 is nil"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := &http.Server{Addr: taken.Addr().String()} // whose error would come first
			app := pid1.App{Logger: discard}
			err := app.Run(t.Context(), before, test.server)
			if err == nil || pid1.ExitCode(err) != 1 {
				t.Fatalf("got %v, want an error with exit code 1", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
}

// TestTLSConfigUnused: a TLSConfig without certificates is no wish for TLS.
func TestTLSConfigUnused(t *testing.T) {
	addr := make(chan net.Addr, 1)
	srv := &http.Server{Addr: "127.0.0.1:0", TLSConfig: new(tls.Config), BaseContext: tell(addr), Handler: answer("plain")}
	s := run(t, new(pid1.App), srv)
	if got := get(t, http.DefaultClient, "http://"+(<-addr).String()); got != "plain" {
		t.Errorf("got %q", got)
	}
	http.DefaultClient.CloseIdleConnections()
	s.stopCleanly()
}

// TestReloadTLS: new connections get what the files have now; files that cannot be
// loaded change nothing.
func TestReloadTLS(t *testing.T) {
	certFile, keyFile, first := certificateFiles(t)
	addr := make(chan net.Addr, 1)
	srv := &http.Server{Addr: "127.0.0.1:0", BaseContext: tell(addr)}
	var app pid1.App
	s := run(t, &app, pid1.TLS(srv, certFile, keyFile))
	address := (<-addr).String()
	trusted := func(config *tls.Config) bool {
		conn, err := tls.Dial("tcp", address, config)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	if err := app.ReloadTLS(); err != nil || !trusted(first) {
		t.Errorf("the same files: %v", err)
	}

	os.WriteFile(keyFile, nil, 0o600)
	var failed *pid1.ServerError
	if err := app.ReloadTLS(); !errors.As(err, &failed) || !strings.Contains(err.Error(), keyFile) || !trusted(first) {
		t.Errorf("half-written: %v; want a ServerError with the file's name, and the first certificate", err)
	}

	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2)}
	renewed, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: renewed}), 0o600)
	os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600)
	if err := app.ReloadTLS(); err != nil {
		t.Error(err)
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.ConnectionState().PeerCertificates[0].Raw; !bytes.Equal(got, renewed) {
		t.Error("the server still has the first certificate")
	}
	conn.Close()
	s.stopCleanly()
}
