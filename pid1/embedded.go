package pid1

// An embedder has an *http.Server inside: its methods are promoted. What it sends
// and accepts is out of our reach, and its Shutdown loses requests.
type embedder interface {
	RegisterOnShutdown(f func())
	SetKeepAlivesEnabled(v bool)
}

// warnOfEmbedded says how such a server can be drained.
func (a *App) warnOfEmbedded(servers []*serverState) {
	for _, p := range servers {
		server := any(p.server)
		if l, ok := server.(*listening); ok {
			server = l.s
		}
		if _, ok := server.(embedder); ok {
			a.log().Warn("its Shutdown loses requests: it embeds an *http.Server, which cannot be drained inside another type;"+
				" pass the *http.Server itself to Run, Listen or TLS", "server", p.name)
		}
	}
}
