// SPDX-License-Identifier: MIT

package reaper_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	roles["exit"] = func() int { return atoi(os.Args[1]) }
	roles["echo"] = func() int { fmt.Println("echo"); return atoi(os.Args[1]) }
	roles["block"] = func() int { time.Sleep(time.Hour); return 0 }
	roles["orphans"] = roleOrphans
	roles["reader"] = roleReader
	roles["sleeper"] = roleSleeper
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// role returns the command that runs one of the roles.
func role(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return &exec.Cmd{Path: self, Args: args, Stderr: os.Stderr}
}

// orphans n command...: starts n processes that run command, prints their
// PIDs, and leaves them. Its standard input is theirs.
func roleOrphans() int {
	for range atoi(os.Args[1]) {
		cmd := role(os.Args[2:]...)
		cmd.Stdin = os.Stdin
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(cmd.Process.Pid)
	}
	return 0
}

// reader code: exits when its standard input ends.
func roleReader() int {
	var b [1]byte
	os.Stdin.Read(b[:])
	return atoi(os.Args[1])
}

// sleeper how code: prints its PID when it is ready, and does not end by
// itself. how is a list of: ignore (SIGTERM), exit (with code on SIGTERM),
// setsid, stop (itself), fork (a child on SIGTERM that ignores SIGTERM).
func roleSleeper() int {
	how := os.Args[1]
	term := make(chan os.Signal, 1)
	if strings.Contains(how, "ignore") {
		signal.Ignore(unix.SIGTERM)
	} else {
		signal.Notify(term, unix.SIGTERM)
	}
	if strings.Contains(how, "setsid") {
		unix.Setsid()
	}
	fmt.Println(os.Getpid())
	if strings.Contains(how, "stop") {
		unix.Kill(os.Getpid(), unix.SIGSTOP)
	}
	select {
	case <-term:
	case <-time.After(time.Hour): // a timer, or the runtime calls it a deadlock
	}
	if strings.Contains(how, "fork") {
		child := role("sleeper", "ignore", "0")
		child.Start()
	}
	return atoi(os.Args[2])
}

// pids reads PIDs from the output of roles.
func pids(out []byte) (pids []int) {
	for _, f := range strings.Fields(string(out)) {
		pids = append(pids, atoi(f))
	}
	return pids
}

// zombies returns the children of this process that are dead.
func zombies() (pids []int) {
	self := strconv.Itoa(os.Getpid())
	dir, _ := os.ReadDir("/proc")
	for _, e := range dir {
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if f[0] == "Z" && f[1] == self {
			pids = append(pids, atoi(e.Name()))
		}
	}
	return pids
}

// refusePidfds makes package os do without pidfds, for real: a seccomp filter
// fails pidfd_open with EPERM, as the profiles of older container engines do,
// and stays across the execve that follows.
func refusePidfds(args []string, env []string) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := installFilter(refusal(unix.SYS_PIDFD_OPEN)); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", args, env)
}

// refusal is a seccomp filter that fails one system call with EPERM.
func refusal(call uint32) []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0x00050000 | uint32(unix.EPERM)}, // SECCOMP_RET_ERRNO
		{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000},                      // SECCOMP_RET_ALLOW
	}
}

// wantSame fails t when a helper's answer is not as expected.
func wantSame[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}
