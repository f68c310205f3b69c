// SPDX-License-Identifier: MIT

// Tcp: an accept loop of one's own. Listen serves who waits to be accepted; the
// server then ends the reading side of each connection, so that what has arrived
// is answered and idle connections end.
package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

type server struct {
	stopping context.Context
	stop     context.CancelFunc
	clients  sync.WaitGroup
}

func (s *server) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err // if the stop has closed l, that is no failure
		}
		s.clients.Go(func() { s.serve(conn.(*net.TCPConn)) })
	}
}

func (s *server) serve(conn *net.TCPConn) {
	defer conn.Close()
	context.AfterFunc(s.stopping, func() { conn.CloseRead() })
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		time.Sleep(200 * time.Millisecond)
		io.WriteString(conn, "done\n")
	}
}

func (s *server) Shutdown(context.Context) error {
	s.stop()
	s.clients.Wait()
	return nil
}

func main() {
	l, err := net.Listen("tcp", os.Getenv("ADDR"))
	if err != nil {
		pid1.Exit(err)
	}
	var s server
	s.stopping, s.stop = context.WithCancel(context.Background())
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("tcp", pid1.Listen(l, &s))))
}
