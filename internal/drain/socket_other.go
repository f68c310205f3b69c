// SPDX-License-Identifier: MIT

//go:build !linux

package drain

import "net"

// Package syscall has calls that do not block on sockets for Linux only. Other
// systems lose what a busy server has in its accept queue when the stop begins.

func duplicate(net.Listener) (fd int, ok bool) { return 0, false }

func acceptAll(int) []net.Conn { return nil }

func queued(int) bool { return false }

func closeDescriptor(int) {}

func bare(net.Conn) bool { return false }

func unread(net.Conn) bool { return false }

func unsent(net.Conn) (yes, known bool) { return false, false }
