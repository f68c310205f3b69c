// SPDX-License-Identifier: MIT

// Http3: quic-go's server beside net/http's, on the same address.
package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/quic-go/quic-go/http3"
)

func main() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		w.Write([]byte("done\n"))
	})
	cert, key := os.Getenv("CERT"), os.Getenv("KEY")
	quic := &http3.Server{Addr: os.Getenv("ADDR"), Handler: handler}
	serve := func() error {
		if err := quic.ListenAndServeTLS(cert, key); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
	pid1.Exit(pid1.Run(context.Background(),
		pid1.TLS(&http.Server{Addr: os.Getenv("ADDR"), Handler: handler}, cert, key),
		pid1.Named("http3", pid1.Service(serve, quic.Shutdown))))
}
