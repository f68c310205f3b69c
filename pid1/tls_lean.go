//go:build entrypoint_lean

package pid1

import "errors"

func (h *httpServer) serveTLS() error { return h.refuseTLS() }

// refuseTLS is the error of a server with certificates, before it listens.
func (h *httpServer) refuseTLS() error {
	if h.inherited != nil || !h.secure() {
		return nil
	}
	return errors.New("TLSConfig has certificates, and this program was built with -tags entrypoint_lean, which leaves out TLS:" +
		" build it without, or pass pid1.Listen the listener that tls.NewListener makes")
}
