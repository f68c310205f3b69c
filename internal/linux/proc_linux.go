// SPDX-License-Identifier: MIT

package linux

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// CheckProc reports what is wrong with /proc: it is not mounted, or it belongs
// to another PID namespace, as after unshare --pid without --mount-proc. That
// is worse than no /proc, because its numbers are those of other processes.
func CheckProc() error {
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return fmt.Errorf("/proc is needed and is not mounted for this PID namespace: %w", err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("/proc is needed: %w", err)
	}
	// NSpid has one number for each PID namespace from that of the mount down to
	// ours. The link alone could be right by chance.
	_, nspid, _ := strings.Cut(string(status), "\nNSpid:")
	nspid, _, _ = strings.Cut(nspid, "\n")
	if self != strconv.Itoa(os.Getpid()) || len(strings.Fields(nspid)) > 1 {
		return fmt.Errorf("/proc belongs to another PID namespace: it shows PID %s for this process, which is PID %d;"+
			" mount proc again (unshare --mount-proc)", self, os.Getpid())
	}
	return nil
}

// A Process is what /proc/<pid>/stat says about a process.
type Process struct {
	PID, Parent int
	Name        string // at most 15 bytes, of any value
	State       byte   // of the main thread: R, S, Z, …
	Terminal    bool   // it has a controlling terminal
	Flags       uint64
	Threads     int
	Start       uint64 // in clock ticks since boot
}

// Dead reports whether all threads of the process have ended. A process whose
// main thread alone has ended is in state Z, too.
func (p Process) Dead() bool {
	return (p.State == 'Z' || p.State == 'X') && p.Threads <= 1
}

// ReadProcess reads /proc/<pid>/stat.
func ReadProcess(pid int) (Process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, err
	}
	return ParseStat(stat)
}

// Processes returns every process that /proc shows. Some may have ended since,
// and others may have started. What cannot be read is left out.
func Processes() (all []Process) {
	all, _ = ListProcesses()
	return all
}

// ListProcesses is Processes, and returns an error if some are left out /proc
// cannot be listed, or because no descriptor is free to read them.
func ListProcesses() (all []Process, err error) {
	numbers, err := Numbers("/proc")
	if err != nil {
		return nil, err
	}
	for _, pid := range numbers {
		switch p, err := ReadProcess(pid); {
		case err == nil:
			all = append(all, p)
		case NoDescriptor(err):
			return all, err
		}
	}
	return all, nil
}

// NoDescriptor reports whether err is that this process, or the system, has no
// descriptor left.
func NoDescriptor(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// Ignores reports whether a process ignores a signal.
func Ignores(pid int, s syscall.Signal) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	_, mask, _ := strings.Cut(string(status), "\nSigIgn:\t")
	mask, _, _ = strings.Cut(mask, "\n")
	set, err := strconv.ParseUint(mask, 16, 64)
	return err == nil && set&(1<<(s-1)) != 0
}

var errStat = errors.New("malformed stat file")

// ParseStat reads the text of a stat file, see proc_pid_stat(5). The second
// field is the name in parentheses, which may contain anything, so the others
// are counted from the last parenthesis.
func ParseStat(stat []byte) (Process, error) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return Process{}, errStat
	}
	f := strings.Fields(string(stat[end+1:])) // from field 3, the state
	if len(f) < 20 || len(f[0]) != 1 {
		return Process{}, errStat
	}
	// The fields that matter, by their numbers in the manual page.
	texts := [...]string{strings.TrimSpace(string(stat[:open])), f[4-3], f[9-3], f[20-3], f[22-3]}
	var n [len(texts)]uint64
	for i, text := range texts {
		var err error
		if n[i], err = strconv.ParseUint(text, 10, 64); err != nil {
			return Process{}, errStat
		}
	}
	return Process{
		PID:      int(n[0]),
		Name:     string(stat[open+1 : end]),
		State:    f[0][0],
		Parent:   int(n[1]),
		Terminal: f[7-3] != "0",
		Flags:    n[2],
		Threads:  int(n[3]),
		Start:    n[4],
	}, nil
}

// Numbers returns the entries of a directory that are numbers, as those of
// /proc and /proc/<pid>/task. After an error some may be missing.
func Numbers(name string) (all []int, err error) {
	dir, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.Readdirnames(-1)
	for _, entry := range entries {
		if n, err := strconv.Atoi(entry); err == nil {
			all = append(all, n)
		}
	}
	return all, err
}
