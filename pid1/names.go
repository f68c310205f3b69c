package pid1

import (
	"net"
	"strings"
)

// ownName is the name without Named, of a server that has one.
func (p *serverState) ownName() string {
	if n, ok := p.server.(namer); ok {
		return n.name()
	}
	return ""
}

// title is the name, with the address that the server listens on.
func (p *serverState) title() string {
	b, ok := p.server.(interface{ boundTo() net.Addr })
	if !ok || b.boundTo() == nil {
		return p.name
	}
	addr := b.boundTo().String()
	if port := addr[strings.LastIndex(addr, ":")+1:]; strings.Contains(p.name, port) {
		return p.name
	}
	return p.name + " on " + addr
}
