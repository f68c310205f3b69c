//go:build !linux

package pid1

import "net"

// Package syscall has calls that do not block, on sockets, for Linux only. The
// others lose what a busy server has in its accept queue when the stop begins.

func duplicate(net.Listener) (fd int, ok bool) { return 0, false }

func acceptAll(int) []net.Conn { return nil }

func unread(net.Conn) bool { return false }

func unsent(net.Conn) bool { return false }
