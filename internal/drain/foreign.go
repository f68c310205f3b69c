// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"errors"
	"net"
	"sync"
)

// A Foreign is the listener of a server that is not an *http.Server. It closes
// without losing the connections in its accept queue, and without the server
// noticing: for many servers a failed Accept is the end.
type Foreign struct {
	*listener
	closeOnce sync.Once
	closed    chan struct{}
}

// NewForeign returns l for a server that is to be drained by Drain.
func NewForeign(l net.Listener) *Foreign {
	return &Foreign{listener: newListener(l), closed: make(chan struct{})}
}

// Accept is the listener's. Once that is closed and its queue is empty, Accept
// blocks until Close. Errors before that, such as too many open files, are the
// server's affair: it tries again.
func (f *Foreign) Accept() (net.Conn, error) {
	conn, err := f.listener.Accept()
	if err != nil && f.closing.Load() {
		<-f.closed
	}
	return conn, err
}

// Close is for the server, and for Kill.
func (f *Foreign) Close() error {
	f.closeOnce.Do(func() { close(f.closed) })
	return f.listener.Close()
}

// Serve calls serve with the listener. That the listener is closed is no error.
func (f *Foreign) Serve(serve func(net.Listener) error) error {
	defer close(f.served)
	err := serve(f)
	if f.closing.Load() && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Drain refuses new clients: it closes the listener, and has the server accept
// what is in the queue. Then it gives the server a moment, as its clients have
// requests on their way. What the server has accepted is its own to finish, by
// its Shutdown.
func (f *Foreign) Drain(ctx context.Context) {
	limit, end := withAcceptTime(ctx)
	defer end()
	f.refuse(limit.Done())
	waitTicks(ctx, share(ctx, drainWindow, 4), f.served)
}
