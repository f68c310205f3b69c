// SPDX-License-Identifier: MIT

//go:build !linux

package drain

import (
	"net"
	"time"
)

// Package syscall has calls that do not block on sockets for Linux only. Other
// systems lose what a busy server has in its accept queue when the stop begins.

func duplicate(net.Listener) (fd int, ok bool) { return 0, false }

type backlog struct{ fd int }

func (*backlog) accept() (conns []net.Conn, full bool) { return nil, false }

func (*backlog) close() {}

func queued(net.Listener) (yes, known bool) { return false, false }

func bare(net.Conn) bool { return false }

func unread(net.Conn) bool { return false }

func unsent(net.Conn) (yes, known bool) { return false, false }

func taken(net.Conn) (n int64, ago time.Duration) { return 0, 0 }
