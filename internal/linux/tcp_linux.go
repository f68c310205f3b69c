// SPDX-License-Identifier: MIT

package linux

import (
	"bufio"
	"encoding/binary"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// A TCPSocket is one line of /proc/net/tcp or tcp6, see proc_net_tcp(5).
type TCPSocket struct {
	Local, Peer net.TCPAddr
	Listens     bool // then only Local and Inode mean something

	// Unsent is how many bytes the peer has not acknowledged. The end of the
	// stream (FIN) counts as one.
	Unsent uint64

	// Unanswered is how many retransmissions or probes in a row the peer has not
	// answered. One that is there and does not read answers the probes.
	Unanswered uint64

	Inode uint64 // 0 when the process has closed the socket
}

// TCPListeners returns the listening TCP sockets of this network namespace. Where
// /proc cannot be read, there are none.
func TCPListeners() (all []*TCPSocket) {
	_ = readTCP(func(s *TCPSocket) (more bool) {
		if s.Listens { // these come first
			all = append(all, s)
		}
		return s.Listens
	})
	return all
}

// UnsentTCP returns the sockets that have Unsent bytes, open or closed. Where /proc
// cannot be read, there are none. But it returns an error if no descriptor is free to
// read it: a later call may find one.
func UnsentTCP() (all []*TCPSocket, err error) {
	err = readTCP(func(s *TCPSocket) (more bool) {
		if !s.Listens && s.Unsent > 0 {
			all = append(all, s)
		}
		return true
	})
	return all, err
}

// readTCP calls f with the sockets of IPv4, then with those of IPv6, each time
// until f returns false. An error is that no descriptor is free.
func readTCP(f func(*TCPSocket) (more bool)) error {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(name)
		if NoDescriptor(err) {
			return err
		}
		if err != nil {
			continue // there is no IPv6, or no /proc
		}
		for lines, more := bufio.NewReader(file), true; more; {
			line, err := lines.ReadSlice('\n')
			if s := ParseTCP(string(line)); s != nil {
				more = f(s)
			}
			more = more && err == nil
		}
		file.Close()
	}
	return nil
}

// ParseTCP reads a line of /proc/net/tcp or tcp6. For others, such as the heading,
// it returns nil.
func ParseTCP(line string) *TCPSocket {
	// sl local remote state unsent:unread timer:when retransmits uid probes inode …
	f := strings.FieldsFunc(line, func(r rune) bool { return r == ':' || unicode.IsSpace(r) })
	if len(f) < 14 {
		return nil
	}
	ok := true
	number := func(i, base int) uint64 {
		n, err := strconv.ParseUint(f[i], base, 64)
		ok = ok && err == nil
		return n
	}
	s := &TCPSocket{
		Local:      net.TCPAddr{IP: parseIP(f[1]), Port: int(number(2, 16))},
		Peer:       net.TCPAddr{IP: parseIP(f[3]), Port: int(number(4, 16))},
		Listens:    number(5, 16) == unix.BPF_TCP_LISTEN,
		Unsent:     number(6, 16),
		Unanswered: number(10, 16) + number(12, 10),
		Inode:      number(13, 10),
	}
	if !ok || s.Local.IP == nil || s.Peer.IP == nil {
		return nil
	}
	return s
}

// parseIP reads one or four words, which are in the machine's byte order.
func parseIP(s string) (ip net.IP) {
	if len(s) != 2*net.IPv4len && len(s) != 2*net.IPv6len {
		return nil
	}
	for ; s != ""; s = s[8:] {
		word, err := strconv.ParseUint(s[:8], 16, 32)
		if err != nil {
			return nil
		}
		ip = binary.NativeEndian.AppendUint32(ip, uint32(word))
	}
	return ip
}

// EachSocketInode calls f with the inode of each socket that a process in /proc
// holds, until f returns false. Processes that may not be inspected are left out.
func EachSocketInode(f func(inode uint64) (more bool)) {
	pids, _ := Numbers("/proc")
	for _, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		fds, _ := Numbers(dir)
		for _, fd := range fds {
			link, _ := os.Readlink(dir + "/" + strconv.Itoa(fd))
			text, ok := strings.CutPrefix(link, "socket:[")
			if !ok {
				continue
			}
			inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64)
			if err == nil && !f(inode) {
				return
			}
		}
	}
}

// BytesRead is how many bytes were read from a TCP socket: those that have come
// (tcp_info in linux/tcp.h) without those that wait (SIOCINQ in tcp(7), which is
// TIOCINQ); and how long ago the last ones came. It is 0 for other sockets.
func BytesRead(fd int) (n int64, ago time.Duration) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, 0
	}
	waits, _ := unix.IoctlGetInt(fd, unix.TIOCINQ)
	return int64(info.Bytes_received) - int64(waits), time.Duration(info.Last_data_recv) * time.Millisecond
}
