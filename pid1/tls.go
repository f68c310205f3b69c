//go:build !entrypoint_lean

package pid1

// serveTLS is Serve with TLS. The mere mention of it makes a program 370 KiB
// larger: the linker cannot know that there will be no TLSConfig.
func (h *httpServer) serveTLS() error { return h.srv.ServeTLS(h.listener, "", "") }

func (h *httpServer) refuseTLS() error { return nil }
