// SPDX-License-Identifier: MIT

// Net-rpc: ServeConn returns when it reads the end, after the calls that run. The
// stop ends the reading side of each connection; see tcp.
package main

import (
	"context"
	"net"
	"net/rpc"
	"os"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// Sleeper is the service.
type Sleeper struct{}

// Sleep answers after a moment.
func (Sleeper) Sleep(_ string, reply *string) error {
	time.Sleep(200 * time.Millisecond)
	*reply = "done"
	return nil
}

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
		context.AfterFunc(s.stopping, func() { conn.(*net.TCPConn).CloseRead() })
		s.clients.Go(func() { rpc.ServeConn(conn) })
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
	if err := rpc.Register(Sleeper{}); err != nil {
		pid1.Exit(err)
	}
	var s server
	s.stopping, s.stop = context.WithCancel(context.Background())
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("rpc", pid1.Listen(l, &s))))
}
