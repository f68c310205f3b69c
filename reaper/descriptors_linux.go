// SPDX-License-Identifier: MIT

package reaper

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// descriptors visits the numbers of the open descriptors of this process.
//
// Listing them costs more than trying them: the kernel makes a directory entry
// for each, and an inode the first time. So the numbers below dense are tried
// without a list, open or not, and only the rest is listed; dense is learned
// anew from time to time. No open descriptor is left out, however high its
// number.
type descriptors struct {
	dir     int  // /proc/self/fd, kept open
	ordered bool // the list from a number on begins at position number+2
	dense   int  // most numbers below are in use
	passes  int

	visited int // by the last pass
	buf     []byte
}

// relearn is the number of passes for which dense is used.
const relearn = 64

func openDescriptors() (*descriptors, error) {
	dir, err := syscall.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reaper: %w", &os.PathError{Op: "open", Path: "/proc/self/fd", Err: err})
	}
	return newDescriptors(dir), nil
}

func newDescriptors(dir int) *descriptors {
	d := &descriptors{dir: dir, buf: make([]byte, 16<<10)}
	d.ordered = d.inOrder()
	_ = d.visit(func(int) {}) // to count them; later passes report errors
	return d
}

func (d *descriptors) close() { syscall.Close(d.dir) }

// count is roughly how many numbers a pass visits. It is 0 for nil.
func (d *descriptors) count() int {
	if d == nil {
		return 0
	}
	return d.visited
}

// visit calls f, in ascending order, for every descriptor that is open from
// before the call until after it, and for some numbers that are not in use.
// After an error some may not have been visited.
func (d *descriptors) visit(f func(fd int)) error {
	slack := 0
	if d.passes%relearn == 0 {
		d.dense, slack = d.size(), 64
	}
	d.passes++
	dense := d.dense
	for fd := range dense {
		f(fd)
	}

	// What is listed now is tried the next time, where it is dense: the pidfds
	// of our own batch, for instance.
	listed := 0
	err := d.list(dense, func(fd int, _ int64) bool {
		f(fd)
		listed++
		if d.ordered && fd < dense+2*listed+slack {
			d.dense = fd + 1
		}
		return true
	})
	d.visited = dense + listed
	return err
}

// size is how many descriptors are open, since Linux 6.2; 0 before that, and
// where the list has another order than theirs.
func (d *descriptors) size() int {
	var s syscall.Stat_t
	if !d.ordered || syscall.Fstat(d.dir, &s) != nil {
		return 0
	}
	return int(s.Size)
}

// inOrder reports whether the list has each number at position number+2, behind
// "." and ".." (fs/proc/fd.c). That is promised nowhere; the first some hundred
// of them show it.
func (d *descriptors) inOrder() bool {
	ordered, n := true, 0
	err := d.list(0, func(fd int, position int64) bool {
		ordered = ordered && position == int64(fd)+2
		n++
		return ordered && n < 100
	})
	return ordered && err == nil
}

// list reads the directory. It calls f with each number from first on, which must
// be 0 where the list is not ordered, until f returns false. The position is that
// of the entry, but for the first one's: that may be anywhere behind.
func (d *descriptors) list(first int, f func(fd int, position int64) bool) error {
	position := int64(first) + 2
	if first == 0 {
		position = 0 // all, and ".." tells the position of the first number
	}
	if _, err := syscall.Seek(d.dir, position, unix.SEEK_SET); err != nil {
		return err
	}
	for {
		n, err := syscall.ReadDirent(d.dir, d.buf)
		if n <= 0 || err != nil {
			return err
		}
		// struct linux_dirent64: ino uint64, off int64 (the position of the
		// next entry), reclen uint16, type uint8, name up to a zero byte.
		for e := d.buf[:n]; len(e) > 19; {
			length := int(binary.NativeEndian.Uint16(e[16:]))
			name, _, _ := bytes.Cut(e[19:length], []byte{0})
			fd, err := strconv.Atoi(string(name))
			if err == nil && !f(fd, position) { // not "." or ".."
				return nil
			}
			position = int64(binary.NativeEndian.Uint64(e[8:]))
			e = e[length:]
		}
	}
}

// osHasPidfds reports whether package os uses pidfds for processes. It tries: if
// so, an os.Process of this process holds a pidfd. Package os probes several
// system calls, which a seccomp profile may refuse one by one, so that probing
// them here could give another answer. It returns an error if too few descriptors
// are free to know.
func (d *descriptors) osHasPidfds() (bool, error) {
	// Package os remembers what it has found. Without a free descriptor it would
	// find no pidfds.
	if err := d.checkFree(); err != nil {
		return false, err
	}
	if d.findsPidfdOfOS() {
		return true, nil
	}
	return false, d.checkFree() // or was it that others took them meanwhile?
}

// checkFree returns an error if a few more descriptors cannot be opened.
func (d *descriptors) checkFree() error {
	for range 4 {
		fd, err := unix.FcntlInt(uintptr(d.dir), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("reaper: duplicate a descriptor: %w", err)
		}
		defer syscall.Close(fd)
	}
	return nil
}

func (d *descriptors) findsPidfdOfOS() bool {
	// The first use of package os's processes probes, with a pidfd of ourselves
	// that must not be counted. It may be going on in another goroutine: wait.
	if probed, err := os.FindProcess(os.Getpid()); err == nil {
		probed.Release()
	}

	// A new descriptor gets the lowest free number. If another goroutine was
	// quicker to take that, or there is no pidfd, count the pidfds of all.
	next, err := unix.FcntlInt(uintptr(d.dir), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return false
	}
	syscall.Close(next)
	first, err := os.FindProcess(os.Getpid())
	if err != nil {
		return false
	}
	defer first.Release()
	if isPidfdOf(next, os.Getpid()) {
		return true
	}
	before := d.pidfdsOf(os.Getpid())
	second, err := os.FindProcess(os.Getpid())
	if err != nil {
		return false
	}
	defer second.Release()
	return d.pidfdsOf(os.Getpid()) > before
}

func (d *descriptors) pidfdsOf(pid int) (n int) {
	d.visit(func(fd int) {
		if isPidfdOf(fd, pid) {
			n++
		}
	})
	return n
}

func isPidfdOf(fd, pid int) bool {
	if !isPidfd(fd) {
		return false
	}
	info, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	return bytes.Contains(info, fmt.Appendf(nil, "\nPid:\t%d\n", pid))
}
