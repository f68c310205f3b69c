// SPDX-License-Identifier: MIT

package drain

import (
	"bytes"
	"log"
	"net"
)

// An errorLog is what net/http logs to. It drops the lines about connections that
// we have ended before their TLS handshake was over: those of port scanners,
// health checks and browsers' preconnects. The stop is no error.
type errorLog struct {
	users    *log.Logger
	stopping func() bool
}

func (l *errorLog) Write(line []byte) (int, error) {
	if l.stopping() && bytes.HasPrefix(line, []byte("http: TLS handshake error from ")) {
		text := bytes.TrimSpace(line)
		if bytes.HasSuffix(text, []byte(errEnded.Error())) || bytes.HasSuffix(text, []byte(net.ErrClosed.Error())) {
			return len(line), nil
		}
	}
	const caller = 4 // log.Logger.output, Printf, http.Server.logf
	return len(line), l.users.Output(caller, string(line))
}
