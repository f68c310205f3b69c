// SPDX-License-Identifier: MIT

package recipes

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// The same address serves HTTP/1.1 with TLS and HTTP/3. Both end what is in
// flight; of HTTP/3 requests that arrive during the stop some are refused.
func TestHTTP3(t *testing.T) {
	t.Parallel()
	cert, key, roots := selfSigned(t)
	client := &tls.Config{RootCAs: roots}
	addr := freeAddr(t)
	p := start(t, "http3", "ADDR="+addr, "CERT="+cert, "KEY="+key)

	probe := &http3.Transport{TLSClientConfig: client}
	defer probe.Close()
	p.await("HTTP/3", func() bool {
		resp, err := (&http.Client{Transport: probe, Timeout: time.Second}).Get("https://" + addr)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	first := startLoad(http.MethodPost, "https://"+addr, func() http.RoundTripper { return &http.Transport{TLSClientConfig: client} })
	third := startLoad(http.MethodPost, "https://"+addr, func() http.RoundTripper { return &http3.Transport{TLSClientConfig: client} })
	first.await(t, 50)
	third.await(t, 50)
	p.stop()
	first.end()
	third.cut()
	p.wantCleanEnd(nil)
	first.count(t, "http3: HTTP/1.1")
	third.count(t, "http3")
	if n := first.lost.Load(); n > 0 {
		t.Errorf("HTTP/1.1: %d requests lost, the first: %v", n, first.first)
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert},
		keyFile:  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	return certFile, keyFile, roots
}
