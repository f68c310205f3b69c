package reaper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// checkProc reports what is wrong with /proc. The /proc of another PID
// namespace, as after unshare --pid without --mount-proc, is worse than none:
// its numbers are those of other processes.
func checkProc() error {
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return fmt.Errorf("/proc is needed and is not mounted for this PID namespace: %w", err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("/proc is needed: %w", err)
	}
	// NSpid has one number for each PID namespace from that of the mount
	// down to ours. The link alone could be right by chance.
	_, nspid, _ := strings.Cut(string(status), "\nNSpid:")
	nspid, _, _ = strings.Cut(nspid, "\n")
	if self != strconv.Itoa(os.Getpid()) || len(strings.Fields(nspid)) > 1 {
		return fmt.Errorf("/proc belongs to another PID namespace: it shows PID %s for this process, which is PID %d;"+
			" mount proc again (unshare --mount-proc)", self, os.Getpid())
	}
	return nil
}

// children is the list of the children of one thread, kept open.
type children struct {
	fd   int
	buf  []byte
	pids []int // the last list, for its memory
}

func openChildren(tid int) (*children, error) {
	path := fmt.Sprintf("/proc/self/task/%d/children", tid)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &children{fd: fd, buf: make([]byte, 16<<10)}, nil
}

func (c *children) close() { unix.Close(c.fd) }

// list returns the PIDs of the children, zombies included; they are good until
// it is called again. It ends with pid if that is among them, as 0 never is: the
// kernel makes no more of the list than is read. A child may be missing when
// another one goes meanwhile.
func (c *children) list(pid int) (pids []int) {
	pids = c.pids[:0]
	defer func() { c.pids = pids }()
	size := len(c.buf)
	if pid != 0 {
		size = 16 // a few; mostly there are no more
	}
	number := 0 // the kernel splits the text between reads anywhere
	for offset := int64(0); ; size = min(8*size, len(c.buf)) {
		n, err := unix.Pread(c.fd, c.buf[:size], offset)
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
// thread or a child that ends meanwhile may hide some.
func childrenOfOthers() (pids []int) {
	for _, tid := range numbers("/proc/self/task") {
		if tid == os.Getpid() {
			continue
		}
		if c, err := openChildren(tid); err == nil {
			pids = append(pids, c.list(0)...)
			c.close()
		}
	}
	return pids
}

// childrenByParent does the work of the children files where there are none.
func childrenByParent() (pids []int) {
	for _, p := range processes() {
		if p.parent == os.Getpid() {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// A processInfo is what /proc/<pid>/stat says about a process.
type processInfo struct {
	pid, parent int
	state       byte
	flags       uint64
	threads     int
	start       uint64 // in clock ticks since boot
}

var errStat = errors.New("reaper: malformed stat file")

func readProcess(pid int) (processInfo, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processInfo{}, err
	}
	return parseStat(pid, stat)
}

// parseStat reads proc_pid_stat(5). The second field is the name in
// parentheses, which may contain anything, so the fields are counted from
// the last parenthesis; the state is field 3.
func parseStat(pid int, stat []byte) (p processInfo, err error) {
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return p, errStat
	}
	number := func(field int) uint64 {
		n, e := strconv.ParseUint(string(f[field-3]), 10, 64)
		if e != nil {
			err = errStat
		}
		return n
	}
	p = processInfo{
		pid:     pid,
		state:   f[0][0],
		parent:  int(number(4)),
		flags:   number(9),
		threads: int(number(20)),
		start:   number(22),
	}
	return p, err
}

// processes returns every process that /proc shows. Some may have ended
// since, and some have started.
func processes() (all []processInfo) {
	for _, pid := range numbers("/proc") {
		if p, err := readProcess(pid); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// numbers returns the entries of a directory that are numbers.
func numbers(name string) (all []int) {
	dir, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer dir.Close()
	entries, _ := dir.Readdirnames(-1)
	for _, entry := range entries {
		if n, err := strconv.Atoi(entry); err == nil {
			all = append(all, n)
		}
	}
	return all
}
