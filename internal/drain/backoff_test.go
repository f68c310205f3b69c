// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"io"
	"log"
	"net"
	"syscall"
	"testing"
	"time"
)

// A broke listener never has a descriptor for a connection.
type broke struct{ *pipes }

func (l broke) Accept() (net.Conn, error) {
	select {
	case <-l.ended:
		return nil, net.ErrClosed
	default:
		return nil, syscall.EMFILE
	}
}

// TestAcceptBackOff: net/http waits for up to a second before it calls Accept again,
// and the stop no longer than that, nor than its own time.
func TestAcceptBackOff(t *testing.T) {
	for grace, most := range map[time.Duration]time.Duration{time.Minute: 2 * time.Second, 300 * time.Millisecond: 300 * time.Millisecond} {
		t.Run(grace.String(), bubble(func(t *testing.T) {
			h, srv := served()
			srv.ErrorLog = log.New(io.Discard, "", 0)
			h.Bind(broke{newPipes()})
			done := make(chan error)
			go func() { done <- h.Serve(srv.Serve) }()
			time.Sleep(10*time.Second + 300*time.Millisecond) // simulated: it has begun to wait for a second
			ctx, end := context.WithTimeout(t.Context(), grace)
			defer end()
			began := time.Now()
			if err := h.Shutdown(ctx, context.Canceled); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > most {
				t.Errorf("took %v, want %v at most", took, most)
			}
			<-done
		}))
	}
}
