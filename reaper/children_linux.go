// SPDX-License-Identifier: MIT

package reaper

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// children is the list of the children of one thread, kept open.
type children struct {
	fd   int
	buf  []byte
	pids []int // the last list, for its memory
}

func openChildren(tid int) (*children, error) {
	path := fmt.Sprintf("/proc/self/task/%d/children", tid)
	fd, err := syscall.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &children{fd: fd, buf: make([]byte, 16<<10)}, nil
}

func (c *children) close() { syscall.Close(c.fd) }

// list returns the PIDs of the children, zombies included; the slice is valid
// until list is called again. The list ends with pid if that is among them, as 0
// never is: the kernel produces no more of the list than is read. A child may be
// missing when another one goes meanwhile.
func (c *children) list(pid int) (pids []int) {
	pids = c.pids[:0]
	defer func() { c.pids = pids }()
	size := len(c.buf)
	if pid != 0 {
		size = 16 // a few; mostly there are no more
	}
	number := 0 // the kernel splits the text between reads anywhere
	for offset := int64(0); ; size = min(8*size, len(c.buf)) {
		n, err := syscall.Pread(c.fd, c.buf[:size], offset)
		if n <= 0 || err != nil {
			return pids
		}
		offset += int64(n)
		for _, b := range c.buf[:n] {
			if b >= '0' && b <= '9' {
				number = number*10 + int(b-'0')
			} else if number != 0 {
				pids = append(pids, number)
				if number == pid {
					return pids
				}
				number = 0
			}
		}
		if n < min(size, 2048) { // the kernel fills a page before it stops early
			return pids
		}
	}
}

// childrenOfOthers lists the children of the threads other than the leader. A
// thread or a child that ends meanwhile may hide some. complete is false if no
// descriptor was free to read all, or the threads cannot be listed.
func childrenOfOthers() (pids []int, complete bool) {
	threads, err := linux.Numbers("/proc/self/task")
	complete = err == nil && len(threads) > 0
	for _, tid := range threads {
		if tid == os.Getpid() {
			continue
		}
		c, err := openChildren(tid)
		if err != nil {
			complete = complete && !linux.NoDescriptor(err)
			continue
		}
		pids = append(pids, c.list(0)...)
		c.close()
	}
	return pids, complete
}

// childrenByParent lists all children where the kernel has no children files.
func childrenByParent() (pids []int) {
	for _, p := range linux.Processes() {
		if p.Parent == os.Getpid() {
			pids = append(pids, p.PID)
		}
	}
	return pids
}
