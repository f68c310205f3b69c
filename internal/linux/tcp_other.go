// SPDX-License-Identifier: MIT

//go:build !linux

package linux

import "net"

// A TCPSocket is documented for Linux.
type TCPSocket struct {
	Local, Peer net.TCPAddr
	Listens     bool
	Unsent      uint64
	Unanswered  uint64
	Inode       uint64
}

func TCPListeners() []*TCPSocket { return nil }

func UnsentTCP() ([]*TCPSocket, error) { return nil, nil }

func EachSocketInode(func(uint64) bool) {}
