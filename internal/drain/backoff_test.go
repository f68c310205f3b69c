// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"io"
	"log"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
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
// and the stop no longer than that.
func TestAcceptBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, srv := served()
		srv.ErrorLog = log.New(io.Discard, "", 0)
		h.Bind(broke{newPipes()})
		done := make(chan error)
		go func() { done <- h.Serve(srv.Serve) }()
		time.Sleep(10 * time.Second) // until it waits for a second
		began := time.Now()
		if err := h.Shutdown(t.Context(), context.Canceled); err != nil {
			t.Error(err)
		}
		<-done
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
