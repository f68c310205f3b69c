package pid1

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
)

// ReloadTLS reads the files of all [TLS] servers again, for connections from now
// on. Certificates are renewed by other programs; SIGHUP says that there are new
// ones:
//
//	app.OnHangup = func(context.Context) error { return app.ReloadTLS() }
//
// If a certificate cannot be loaded its server keeps the one that it has. The error
// joins a [ServerError] for each of those.
func (a *App) ReloadTLS() error {
	var errs []error
	if servers := a.servers.Load(); servers != nil {
		for _, p := range servers.all {
			if h, ok := p.server.(*httpServer); ok && h.reload != nil {
				if err := h.reload(); err != nil {
					errs = append(errs, p.error(err))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// A certificate is that of a TLS server's files.
type certificate struct {
	certFile, keyFile string
	loaded            atomic.Pointer[tls.Certificate]
}

func (c *certificate) load() error {
	loaded, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %q with key %q: %w", c.certFile, c.keyFile, err)
	}
	c.loaded.Store(&loaded)
	return nil
}

// prepare gives srv the certificate of the files, if there are any.
func (c *certificate) prepare(srv *http.Server) error {
	if c.certFile == "" && c.keyFile == "" {
		if hasCertificates(srv.TLSConfig) {
			return nil
		}
		return errors.New(`pid1.TLS(srv, "", "") needs srv.TLSConfig to have certificates: set them, or pass the names of files`)
	}
	if err := c.load(); err != nil {
		return err
	}
	config := new(tls.Config)
	if srv.TLSConfig != nil {
		config = srv.TLSConfig.Clone()
	}
	users := config.GetCertificate
	config.Certificates = nil // else GetCertificate is not asked by clients without a server name
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if users != nil && hello.ServerName != "" { // as crypto/tls does
			if cert, err := users(hello); cert != nil || err != nil {
				return cert, err
			}
		}
		return c.loaded.Load(), nil
	}
	srv.TLSConfig = config
	return nil
}
