// SPDX-License-Identifier: MIT

package main

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/soheilhy/cmux"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// TestCmux: a server behind a cmux.CMux, which accepts for it and hands it connections
// that it has read from, loses no request of a client with a keep-alive connection.
func TestCmux(t *testing.T) {
	const clients, stops = 20, 20
	var sent, lost atomic.Int64
	for range stops {
		root, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		mux := cmux.New(root)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, answer)
		})}
		s := runApp(t, h2cApp(), pid1.Listen(mux.Match(cmux.HTTP1Fast()), srv), root.Addr())
		served := make(chan error)
		go func() { served <- mux.Serve() }()

		var warm, busy sync.WaitGroup
		for i := range clients {
			warm.Add(1)
			busy.Go(func() {
				k := &keepAlive{backends: []string{root.Addr().String()}}
				defer k.close()
				for n := 0; ; n++ {
					if n == 3 {
						warm.Done()
					}
					_, err := k.do([]string{http.MethodGet, http.MethodPost}[(i+n)%2])
					if err != nil && strings.Contains(err.Error(), "refuse") {
						return
					}
					sent.Add(1)
					if err != nil {
						lost.Add(1)
						t.Logf("lost: %v", err)
						return
					}
				}
			})
		}
		warm.Wait()
		s.cancel()
		s.ends()
		busy.Wait()
		<-served
	}
	if t.Logf("%d of %d requests lost in %d stops", lost.Load(), sent.Load(), stops); lost.Load() > 0 {
		t.Error("lost requests")
	}
}
